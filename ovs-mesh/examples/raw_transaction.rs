//! The floor that `scripts/bench-sync` measures `ovsmesh sync` against: the same rows in one prepared transaction.
//!
//! `write` does all the thinking beforehand: it compares the topology with the switch and writes the whole difference
//! to a file as one OVSDB `transact` request (RFC 7047, section 4.1.3). `send` is what is timed: it sends that file
//! and reads until ovs-vswitchd has applied it, with nothing but a socket.
//!
//! ```text
//! raw_transaction write SOCKET TOPOLOGY HOST FILE
//! raw_transaction send SOCKET FILE
//! ```

use std::error::Error;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ovs_mesh::ovsdb::{Endpoint, Mutation, Mutator, Operation};
use ovs_mesh::{DATABASE, Plan, Switch, SwitchOptions, Topology, dry_run, lower};
use serde_json::{Value, json};

const LONGEST_WAIT: Duration = Duration::from_secs(300);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", socket, topology, host, file] => write(socket, topology, host, file),
        ["send", socket, file] => send(socket, file),
        _ => Err("usage: raw_transaction write SOCKET TOPOLOGY HOST FILE | send SOCKET FILE".into()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn write(socket: &str, topology: &str, host: &str, file: &str) -> Result<(), Box<dyn Error>> {
    let topology = Topology::parse(&fs::read_to_string(topology)?, topology.as_ref())?;
    let plan = Plan::new(&topology, &host.parse()?)?;
    let switch = Switch::connect(&SwitchOptions::new(Endpoint::Unix(socket.into()))).await?;
    let diff = dry_run(&switch, &plan).await?;
    let snapshot = switch.snapshot().await?;
    let step = diff.next_step(usize::MAX);
    if step.left > 0 {
        return Err("this difference needs more than one transaction".into());
    }
    let mut operations = lower(&plan, &snapshot, &step);
    let next = Mutation::new("next_cfg", Mutator::Add, 1);
    operations.push(Operation::mutate_row("Open_vSwitch", snapshot.root, vec![next]));
    operations.push(Operation::select_all("Open_vSwitch", ["next_cfg"]));
    let mut params = vec![json!(DATABASE)];
    for operation in &operations {
        params.push(serde_json::to_value(operation)?);
    }
    fs::write(file, json!({ "id": 1, "method": "transact", "params": params }).to_string())?;
    Ok(())
}

fn send(socket: &str, file: &str) -> Result<(), Box<dyn Error>> {
    let request = fs::read(file)?;
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LONGEST_WAIT))?;
    let mut messages = serde_json::Deserializer::from_reader(stream.try_clone()?).into_iter::<Value>();
    let columns = json!({ "Open_vSwitch": [{ "columns": ["cur_cfg"] }] });
    let monitor = json!({ "id": 0, "method": "monitor", "params": [DATABASE, null, columns] });
    stream.write_all(monitor.to_string().as_bytes())?;
    stream.write_all(&request)?;
    let (mut reached, mut wanted) = (0, i64::MAX);
    while reached < wanted {
        let message = messages.next().ok_or("ovsdb-server closed the connection")??;
        if message["id"] == 1 {
            let results = message["result"].as_array().ok_or("no result")?;
            if let Some(failed) = results.iter().find(|result| !result["error"].is_null()) {
                return Err(failed.to_string().into());
            }
            let last = results.last().ok_or("no result")?;
            wanted = last["rows"][0]["next_cfg"].as_i64().ok_or("no next_cfg")?;
            continue;
        }
        let tables = if message["id"] == 0 { &message["result"] } else { &message["params"][1] };
        for row in tables["Open_vSwitch"].as_object().into_iter().flat_map(|rows| rows.values()) {
            reached = row["new"]["cur_cfg"].as_i64().unwrap_or(reached);
        }
    }
    Ok(())
}
