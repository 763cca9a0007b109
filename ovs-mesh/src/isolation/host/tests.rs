use proptest::prelude::*;

use super::*;
use crate::snapshot::ReadError;
use crate::testing::hosts::healthy_hosts;
use crate::testing::topologies;

proptest! {
    /// A file says all that the snapshot said, and always in the same words.
    #[test]
    fn a_file_holds_the_whole_snapshot(topology in topologies()) {
        for host in healthy_hosts(&topology) {
            let text = host.to_json().unwrap();
            let again = HostSnapshot::from_json(&text).unwrap();
            prop_assert_eq!(&again, &host);
            prop_assert_eq!(again.to_json().unwrap(), text);
        }
    }
}

#[test]
fn a_file_of_another_form_is_refused() {
    let error = HostSnapshot::from_json("{\"format\": 2, \"new\": true}").unwrap_err();
    assert_eq!(error.to_string(), "this snapshot has format 2; this ovsmesh reads format 1: take it again");
    for text in ["", "{}", "[]", "{\"format\": 1}"] {
        assert!(matches!(HostSnapshot::from_json(text), Err(SnapshotFileError::Json(_))), "{text}");
    }
}

#[test]
fn a_reply_of_another_shape_is_refused() {
    let read = HostSnapshot::from_results("m".parse().unwrap(), "a".parse().unwrap(), Vec::new());
    assert!(matches!(read, Err(ReadError::Shape)));
}
