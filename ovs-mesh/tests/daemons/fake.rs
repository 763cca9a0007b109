//! What a real server does only by chance: replies cut and glued in any way, and replies that are none.

use std::error::Error;

use ovs_mesh::ovsdb::{
    CallError, Client, ConnectOptions, Endpoint, LostReason, MonitorError, MonitorRequest, OperationError,
    TransactError,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::support::{DB, after, soon};

async fn pair() -> (Client, UnixStream) {
    let directory = TempDir::new().expect("there is a directory for temporary files");
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).expect("a fresh directory takes a socket");
    let endpoint = Endpoint::Unix(path);
    let options = ConnectOptions::default();
    let (client, accepted) = tokio::join!(Client::connect(&endpoint, &options), listener.accept());
    (client.expect("the listener listens"), accepted.expect("a client connects").0)
}

/// Reads one request; the tests' are short enough for one read.
async fn request(stream: &mut UnixStream) -> serde_json::Value {
    let mut bytes = vec![0; 4096];
    let length = stream.read(&mut bytes).await.expect("the client writes");
    serde_json::from_slice(&bytes[..length]).expect("one request")
}

#[tokio::test]
async fn replies_may_come_glued_together_and_byte_by_byte() {
    let (client, mut server) = pair().await;
    let watch = MonitorRequest::new().table("Bridge", ["name"]);
    let (monitor, ()) = tokio::join!(client.monitor(DB, &watch, soon()), async {
        let request = request(&mut server).await;
        let id = request["id"].as_u64().unwrap();
        let uuid = "00000000-0000-0000-0000-00000000000a";
        // Reply, update and probe in one write.
        let text = format!(
            r#"{{"id":{id},"error":null,"result":{{}}}}{{"id":null,"method":"update","params":[{id},{{"Bridge":{{"{uuid}":{{"new":{{"name":"\"}}{{é"}}}}}}}}]}}{{"id":"echo","method":"echo","params":["x"]}}"#
        );
        server.write_all(text.as_bytes()).await.unwrap();
    });
    let (initial, mut monitor) = monitor.unwrap();
    assert!(initial.tables.is_empty());
    let update = monitor.try_next().unwrap().expect("it came with the reply");
    let (_, update) = update.table("Bridge").next().unwrap();
    assert_eq!(update.current().unwrap()["name"].as_str().unwrap(), "\"}{é");
    let echoed = request(&mut server).await;
    assert_eq!(echoed, serde_json::json!({"id": "echo", "result": ["x"], "error": null}));

    let (databases, ()) = tokio::join!(client.list_dbs(soon()), async {
        let id = request(&mut server).await["id"].clone();
        for byte in format!(" {{\"id\":{id},\n\"error\":null,\"result\":[\"a\",\"é\"]}}").as_bytes() {
            server.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(databases.unwrap(), ["a", "é"]);
}

#[tokio::test]
async fn what_is_no_reply_ends_the_connection_with_the_reason() {
    for (text, expected) in [
        ("HTTP/1.1 400 Bad Request\r\n", "something else than messages"),
        (r#"{"id":0,"id":0}"#, "not JSON-RPC"),
        (r#"{"method":"update","id":null,"params":[]}"#, "not JSON-RPC"),
        ("{\"id\":0,\"result\":\"\u{0}\"}", "not JSON-RPC"),
    ] {
        let (client, mut server) = pair().await;
        server.write_all(text.as_bytes()).await.unwrap();
        let error = client.echo(soon()).await.unwrap_err();
        let CallError::Connection { source, .. } = error else { panic!("{text}: {error}") };
        assert!(source.reason.to_string().contains(expected), "{text}: {}", source.reason);
        assert!(source.reason.source().is_some());
        // The reason stays for whoever comes later.
        let error = client.transact(DB, &[], soon()).await.unwrap_err();
        assert!(matches!(error, TransactError::Connection { .. }));
        assert!(client.is_lost());
    }
}

#[tokio::test]
async fn a_reply_of_another_shape_is_an_error_of_that_call_alone() {
    let (client, mut server) = pair().await;
    let (databases, ()) = tokio::join!(client.list_dbs(soon()), async {
        let id = request(&mut server).await["id"].clone();
        server.write_all(format!(r#"{{"id":{id},"error":null,"result":{{}}}}"#).as_bytes()).await.unwrap();
    });
    assert!(matches!(databases, Err(CallError::Protocol { .. })));
    let (echo, ()) = tokio::join!(client.echo(soon()), async {
        let id = request(&mut server).await["id"].clone();
        server
            .write_all(format!(r#"{{"id":{id},"error":"canceled","result":null}}"#).as_bytes())
            .await
            .unwrap();
    });
    assert!(matches!(echo, Err(CallError::Refused { error: OperationError::Canceled, .. })));
}

#[tokio::test]
async fn what_is_given_up_is_cancelled_and_its_late_reply_ignored() {
    let (client, mut server) = pair().await;
    let error = client.transact(DB, &[], after(50)).await.unwrap_err();
    assert!(matches!(error, TransactError::Deadline { .. }));
    let mut bytes = vec![0; 4096];
    // The request and the notification can share a read.
    let mut text = String::new();
    while !text.contains("cancel") {
        let length = server.read(&mut bytes).await.unwrap();
        text.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
    }
    assert!(text.ends_with(r#"{"method":"cancel","params":[0],"id":null}"#), "{text}");
    let (echo, ()) = tokio::join!(client.echo(soon()), async {
        let id = request(&mut server).await["id"].clone();
        let late = format!(r#"{{"id":0,"error":null,"result":[]}}{{"id":{id},"error":null,"result":[]}}"#);
        server.write_all(late.as_bytes()).await.unwrap();
    });
    echo.unwrap();
}

#[tokio::test]
async fn the_last_handle_closes_the_connection() {
    let (client, mut server) = pair().await;
    let watch = MonitorRequest::new().table("Bridge", ["name"]);
    let (monitor, ()) = tokio::join!(client.monitor(DB, &watch, soon()), async {
        let id = request(&mut server).await["id"].clone();
        server.write_all(format!(r#"{{"id":{id},"error":null,"result":{{}}}}"#).as_bytes()).await.unwrap();
    });
    let (_, mut monitor) = monitor.unwrap();
    let other = client.clone();
    drop(client);
    assert!(!other.is_lost());
    drop(other);
    assert_eq!(server.read(&mut [0; 16]).await.unwrap(), 0);
    let error = monitor.next(soon()).await.unwrap_err();
    let MonitorError::Connection { source } = error else { panic!("{error}") };
    assert!(matches!(source.reason, LostReason::Dropped));
}
