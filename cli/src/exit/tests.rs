#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;

const URL: &str = "ws://127.0.0.1:7880";

#[test]
fn connect_errors_have_the_documented_codes() {
    let cause = || lkstream::IoCause::from(std::io::Error::other("connection refused"));
    for (error, code) in [
        (ConnectError::InvalidUrl { problem: "no host" }, Code::Usage),
        (
            ConnectError::Refused {
                status: 401,
                reason: "expired".into(),
            },
            Code::Refused,
        ),
        (
            ConnectError::Refused {
                status: 400,
                reason: "identity cannot be empty".into(),
            },
            Code::Refused,
        ),
        (
            ConnectError::Unreachable { cause: cause() },
            Code::Unreachable,
        ),
        (
            ConnectError::NameResolution { cause: cause() },
            Code::Unreachable,
        ),
        (ConnectError::Tls { cause: cause() }, Code::Unreachable),
        (
            ConnectError::ServerFailed {
                status: 500,
                reason: String::new(),
            },
            Code::Unreachable,
        ),
        (
            ConnectError::DataConnection {
                cause: cause().to_string(),
            },
            Code::Unreachable,
        ),
        (
            ConnectError::TimedOut {
                step: ConnectStep::Join,
                limit: Duration::from_secs(5),
            },
            Code::TimedOut,
        ),
    ] {
        let failure = Failure::connecting(URL, &error);
        assert_eq!(failure.code, code, "{failure}");
        assert!(
            failure.cause.contains(URL) && !failure.remedy.is_empty(),
            "{failure}"
        );
        assert!(!failure.to_string().contains('\n'), "{failure}");
    }
}

#[test]
fn other_errors_have_the_documented_codes() {
    let refused = Failure::sending("a.txt", &SendError::Open(OpenError::NotPermitted));
    assert_eq!(refused.code, Code::Refused);
    let addr = "127.0.0.1:7880".parse().unwrap();
    let used = Failure::spawning(&SpawnError::PortInUse(addr));
    assert_eq!(used.code, Code::Other);
    assert!(
        used.to_string().contains("7880") && used.to_string().contains("--port"),
        "{used}"
    );
    assert!(
        Failure::spawning(&SpawnError::RtcPortInUse(addr))
            .to_string()
            .contains("--rtc-port")
    );
    assert_eq!(Failure::interrupted().code.number(), 130);
}

#[test]
fn failures_of_streams_have_a_remedy() {
    let aborted = |reason: &str| ReadError::AbortedBySender {
        reason: reason.into(),
    };
    let too_large = ReadError::Limit(Limit::PayloadTooLarge { size: 9, limit: 8 });
    for (error, cause, remedy) in [
        (
            aborted("cancelled"),
            "alice cancelled it",
            "ask alice to send it again",
        ),
        (
            aborted("the file changed while it was sent"),
            "alice aborted it: the file changed while it was sent",
            "ask alice to send it again",
        ),
        (
            too_large,
            "the payload has 9 bytes or more, at most 8 allowed",
            "raise --max-size here, and at a sender that is lkstream",
        ),
    ] {
        let expected = (cause.to_owned(), remedy.to_owned());
        assert_eq!(receiving("alice", &error), expected);
        assert_eq!(storing("alice", &SaveError::Read(error)), expected);
    }
    let exists = SaveError::Exists { path: "x".into() };
    assert!(storing("alice", &exists).1.contains("--out"));
}

#[test]
fn the_end_of_a_room_says_what_to_do() {
    for (reason, remedy) in [
        (DisconnectReason::DuplicateIdentity, "--identity"),
        (DisconnectReason::RoomDeleted, "new room"),
        (DisconnectReason::ServerShutdown, "when the server is back"),
    ] {
        let reason = Disconnected::ByServer {
            reason,
            advice: lkstream::Advice::Stop,
        };
        let failure = Failure::disconnected(&reason);
        assert!(failure.remedy.contains(remedy), "{failure}");
        let stream = Failure::new(Code::Stream, "cause", "send it again").because_of(&reason);
        assert_eq!((stream.code, stream.remedy), (Code::Stream, failure.remedy));
    }
}

#[test]
fn codes_are_the_documented_numbers() {
    let codes = [
        Code::Other,
        Code::Usage,
        Code::Refused,
        Code::Unreachable,
        Code::Stream,
        Code::TimedOut,
        Code::Interrupted,
    ];
    assert_eq!(codes.map(Code::number), [1, 2, 3, 4, 5, 6, 130]);
}
