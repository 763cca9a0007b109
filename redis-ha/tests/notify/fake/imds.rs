//! The instance metadata, of its second version alone.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use tiny_http::{Method, Request};

use super::{CREDENTIALS, REGION, Reply, State, header};

pub(super) fn answer(state: &Arc<Mutex<State>>, enis: &[&'static str], request: &mut Request) -> Reply {
    let lock = || state.lock().expect("no test holds it while it fails");
    let path = request.url().to_owned();
    let mut state = lock();
    state.metadata_calls.push(path.clone());
    if path.ends_with(CREDENTIALS) {
        let time = state.credentials_take;
        drop(state);
        thread::sleep(time);
        state = lock();
    }
    if header(request, "x-forwarded-for").is_some() {
        state.offences.push(format!("{path} through a proxy"));
        return Reply::text(403, "");
    }
    if header(request, "transfer-encoding").is_some() {
        state.offences.push(format!("{path} in chunks"));
        return Reply::text(400, "");
    }
    if *request.method() == Method::Put && path == "/latest/api/token" {
        let life = header(request, "x-aws-ec2-metadata-token-ttl-seconds").and_then(|life| life.parse().ok());
        if !life.is_some_and(|life: u32| (1..=21600).contains(&life)) {
            state.offences.push("a token of no such life".to_owned());
            return Reply::text(400, "");
        }
        let token = format!("token-{}==", state.tokens.len() + state.metadata_calls.len());
        state.tokens.insert(token.clone());
        return Reply::text(200, token);
    }
    let Some(token) = header(request, "x-aws-ec2-metadata-token") else {
        state.offences.push(format!("{path} by IMDSv1"));
        return Reply::text(401, "");
    };
    if !state.tokens.contains(&token) {
        return Reply::text(401, "");
    }
    let item = path.strip_prefix("/latest/meta-data/").filter(|_| *request.method() == Method::Get);
    let found = item.and_then(|item| value(&state, enis, item));
    if path.ends_with(CREDENTIALS) && state.next_role_key.is_some() {
        state.role_key = state.next_role_key.take();
    }
    match found {
        Some(text) => Reply::text(200, text),
        None => Reply::text(404, "<html>404 - Not Found</html>"),
    }
}

fn value(state: &State, enis: &[&str], item: &str) -> Option<String> {
    match item {
        "placement/region" => return Some(REGION.to_owned()),
        "iam/security-credentials/" => return state.role_key.as_ref().map(|_| "notify".to_owned()),
        CREDENTIALS => {
            let id = state.role_key.as_ref()?;
            let key = &state.keys[id];
            return Some(format!(
                r#"{{"Code":"Success","LastUpdated":"2026-01-01T00:00:00Z","Type":"AWS-HMAC","AccessKeyId":"{id}",
                "SecretAccessKey":"{}","Token":"{}","Expiration":"{}"}}"#,
                key.secret,
                key.token.as_deref().unwrap_or_default(),
                state.role_expiry
            ));
        }
        _ => {}
    }
    let mut own = state.enis.iter().filter(|eni| enis.contains(&eni.id));
    let item = item.strip_prefix("network/interfaces/macs/")?;
    if item.is_empty() {
        return Some(own.map(|eni| format!("{}/\n", eni.mac)).collect());
    }
    let (mac, item) = item.split_once('/')?;
    let eni = own.find(|eni| eni.mac == mac)?;
    match item {
        "device-number" => Some(eni.device.to_string()),
        "interface-id" => Some(eni.id.to_owned()),
        "subnet-ipv4-cidr-block" => Some(state.subnets[eni.subnet].to_string()),
        "local-ipv4s" => {
            let now = Instant::now();
            let there = eni.secondary.iter().filter(|(_, from)| **from <= now).map(|(address, _)| address);
            Some([&eni.primary].into_iter().chain(there).map(|address| format!("{address}\n")).collect())
        }
        _ => None,
    }
}
