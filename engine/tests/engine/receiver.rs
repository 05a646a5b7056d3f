//! What a receiver does: the cases of docs/streams.md; case 6 is among the tests of encryption.

use std::time::Duration;

use bytes::Bytes;
use lkstream_engine::{
    Config, Content, Event, Limit, Lost, Outcome, Read, ReadError, Rule, Summary, TextOperation,
};
use lkstream_proto::packet::{
    Channel, Chunk, Content as WireContent, DataPacket, Header, TextHeader, UserPacket, Value,
};
use lkstream_proto::receipt::{self, Receipt, Status};

use crate::script::*;

#[test]
fn receiver_case_01_text_with_length_and_attribute() {
    let mut bob = Peer::bob();
    let (id, info) = bob.header(Header {
        total_length: Some(11),
        attributes: attributes(&[("k", "v")]),
        ..text_header("s")
    });
    assert_eq!(info.id, "s");
    assert_eq!(info.sender, "alice");
    assert_eq!(info.publisher.as_ref().unwrap().as_str(), "PA_alice");
    assert_eq!(info.content, Content::text());
    assert_eq!(info.total_length, Some(11));
    assert_eq!(info.attributes, attributes(&[("k", "v")]));
    assert_eq!(bob.read(id), Read::Pending);
    bob.take(chunk("s", 0, "hello world")).unwrap();
    assert_eq!(bob.events, [Event::Readable(id)]);
    assert_eq!(
        bob.read(id),
        Read::Piece(Bytes::from_static(b"hello world"))
    );
    assert_eq!(bob.read(id), Read::Pending);
    bob.take(trailer("s")).unwrap();
    let (pieces, end) = bob.read_all(id);
    assert!(pieces.is_empty());
    match end {
        Read::Finished(Summary {
            bytes,
            attributes: all,
            ..
        }) => {
            assert_eq!(bytes, 11);
            assert_eq!(all, attributes(&[("k", "v")]));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn receiver_case_02_bytes() {
    let mut bob = Peer::bob();
    let (id, info) = bob.header(byte_header("s"));
    assert_eq!(info.content, Content::bytes("unknown"));
    bob.take(chunk("s", 0, [0, 159, 255])).unwrap();
    bob.take(trailer("s")).unwrap();
    assert_eq!(bob.finished(id), [0, 159, 255]);
}

#[test]
fn receiver_case_03_attachments() {
    let mut bob = Peer::bob();
    let (text, info) = bob.header(Header {
        content: Some(WireContent::Text(TextHeader {
            operation_type: 3,
            reply_to_stream_id: "earlier".to_owned(),
            attached_stream_ids: vec!["file".to_owned()],
            ..TextHeader::default()
        })),
        inline_content: Some(Bytes::from_static(b"see attachment")),
        ..text_header("s")
    });
    assert_eq!(
        info.content,
        Content::Text {
            operation: TextOperation::Reaction,
            version: 0,
            reply_to: Some("earlier".into()),
            attachments: vec!["file".into()],
            generated: false,
        }
    );
    let (file, _) = bob.header(byte_header("file"));
    bob.take(chunk("file", 0, "bytes")).unwrap();
    bob.take(trailer("file")).unwrap();
    assert_eq!(bob.finished(text), b"see attachment");
    assert_eq!(bob.finished(file), b"bytes");
}

#[test]
fn receiver_case_04_packets_before_the_join_are_held_in_order() {
    let mut bob = Peer::outside(Config::default());
    bob.take(Value::StreamHeader(text_header("s"))).unwrap();
    bob.take(chunk("s", 0, "a")).unwrap();
    bob.take(chunk("s", 1, "b")).unwrap();
    bob.take(trailer("s")).unwrap();
    assert!(bob.events.is_empty());
    bob.join();
    let (id, _) = bob.opened();
    assert_eq!(bob.finished(id), b"ab");
}

#[test]
fn receiver_case_04_what_is_held_is_bounded() {
    let mut bob = Peer::outside(Config {
        connection_budget: 100_000,
        ..Config::default()
    });
    bob.take(Value::StreamHeader(byte_header("s"))).unwrap();
    let mut refused = 0;
    for index in 0..200 {
        refused += usize::from(bob.take(chunk("s", index, [0; 15_000])).is_err());
    }
    assert!(bob.engine.is_over_budget());
    assert!(refused > 100, "{refused}");
    bob.join();
    assert!(!bob.engine.is_over_budget() || bob.engine.counters().faults > 0);
}

#[test]
fn receiver_case_05_trailer_attributes_win() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(Header {
        attributes: attributes(&[("a", "header"), ("b", "header")]),
        ..text_header("s")
    });
    bob.take(trailer_with("s", "", &[("b", "trailer"), ("c", "trailer")]))
        .unwrap();
    match bob.read(id) {
        Read::Finished(summary) => assert_eq!(
            summary.attributes,
            attributes(&[("a", "header"), ("b", "trailer"), ("c", "trailer")])
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn receiver_case_07_too_short() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(Header {
        total_length: Some(5),
        ..byte_header("s")
    });
    bob.take(chunk("s", 0, "x")).unwrap();
    let fault = bob.take(trailer("s")).unwrap_err();
    assert_eq!(
        fault.rule,
        Rule::Incomplete {
            declared: 5,
            received: 1
        }
    );
    let (pieces, end) = bob.read_all(id);
    assert_eq!(pieces.concat(), b"x");
    assert_eq!(
        end,
        Read::Failed(ReadError::Incomplete {
            declared: 5,
            received: 1
        })
    );
}

#[test]
fn receiver_case_08_too_long_fails_at_the_chunk() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(Header {
        total_length: Some(3),
        ..byte_header("s")
    });
    let fault = bob.take(chunk("s", 0, "12345")).unwrap_err();
    assert_eq!(
        fault.rule,
        Rule::LengthExceeded {
            declared: 3,
            received: 5
        }
    );
    assert_eq!(fault.stream.unwrap(), "s");
    let (pieces, end) = bob.read_all(id);
    assert!(pieces.is_empty());
    assert_eq!(
        end,
        Read::Failed(ReadError::LengthExceeded {
            declared: 3,
            received: 5
        })
    );
}

#[test]
fn receiver_case_09_the_sender_leaves() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(byte_header("s"));
    bob.take(chunk("s", 0, "a")).unwrap();
    bob.pass(Duration::from_secs(60));
    bob.engine
        .participant_left(bob.now, &"PA_alice".into(), &"alice".into());
    bob.pass(Duration::from_millis(1_900));
    bob.take(chunk("s", 1, "b")).unwrap();
    bob.pass(Duration::from_millis(1_900));
    assert_eq!(
        bob.read_all(id),
        (vec!["a".into(), "b".into()], Read::Pending)
    );
    assert_eq!(
        bob.engine.poll_timeout(),
        Some(bob.now + Duration::from_millis(100))
    );
    bob.pass(Duration::from_millis(100));
    assert_eq!(bob.events.last(), Some(&Event::Readable(id)));
    assert_eq!(
        bob.failed(id),
        ReadError::SenderLeft {
            identity: "alice".into()
        }
    );
    assert_eq!(bob.engine.poll_timeout(), None);
}

#[test]
fn receiver_case_09_what_was_sent_before_the_leave_still_counts() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(byte_header("s"));
    bob.engine
        .participant_left(bob.now, &"PA_alice".into(), &"alice".into());
    bob.pass(Duration::from_secs(1));
    bob.take(chunk("s", 0, "a")).unwrap();
    bob.take(trailer("s")).unwrap();
    // A header that the leave message overtook gets its grace time too.
    let (late, _) = bob.header(byte_header("late"));
    bob.pass(Duration::from_secs(3));
    assert_eq!(bob.finished(id), b"a");
    assert_eq!(
        bob.failed(late),
        ReadError::SenderLeft {
            identity: "alice".into()
        }
    );
}

#[test]
fn receiver_case_09_somebody_else_leaving_changes_nothing() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(byte_header("s"));
    bob.engine
        .participant_left(bob.now, &"PA_carol".into(), &"carol".into());
    // Alice's own earlier session.
    bob.engine
        .participant_left(bob.now, &"PA_older".into(), &"alice".into());
    bob.pass(Duration::from_secs(60));
    assert_eq!(bob.read(id), Read::Pending);
}

#[test]
fn receiver_case_10_the_connection_ends() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(text_header("s"));
    bob.take(chunk("s", 0, "half")).unwrap();
    bob.engine.connection_lost(Lost::Left);
    let (pieces, end) = bob.read_all(id);
    assert_eq!(pieces.concat(), b"half");
    assert_eq!(end, Read::Failed(ReadError::ConnectionLost(Lost::Left)));
}

#[test]
fn receiver_case_10_a_waiting_reader_is_told_and_a_finished_stream_stays_finished() {
    let mut bob = Peer::bob();
    let (waiting, _) = bob.header(text_header("waiting"));
    assert_eq!(bob.read(waiting), Read::Pending);
    let (done, _) = bob.header(text_header("done"));
    bob.take(chunk("done", 0, "all")).unwrap();
    bob.take(trailer("done")).unwrap();
    bob.engine.connection_lost(Lost::Left);
    bob.drain();
    assert_eq!(bob.events, [Event::Readable(waiting)]);
    assert_eq!(bob.finished(done), b"all");
    assert_eq!(bob.failed(waiting), ReadError::ConnectionLost(Lost::Left));
}

#[test]
fn receiver_case_11_inline_is_complete_at_once() {
    let content = "hello hello compressible world".as_bytes();
    let packed = deflate_raw(content);
    for header in [text_header("s"), byte_header("s")] {
        for (compression, inline) in [(0, content.to_vec()), (1, packed.clone())] {
            let mut bob = Peer::bob();
            let (id, _) = bob.header(Header {
                inline_content: Some(Bytes::from(inline)),
                compression,
                total_length: Some(content.len() as u64),
                ..header.clone()
            });
            assert_eq!(bob.finished(id), content);
            bob.take(trailer("s")).unwrap();
            assert_eq!(bob.finished(id), b"");
            assert_eq!(bob.engine.counters().unknown_stream, 1);
        }
    }
}

#[test]
fn receiver_case_11_inline_and_empty() {
    for compression in [0, 1] {
        let inline = if compression == 1 {
            deflate_raw(b"")
        } else {
            Vec::new()
        };
        let mut bob = Peer::bob();
        let (id, _) = bob.header(Header {
            inline_content: Some(Bytes::from(inline)),
            compression,
            total_length: Some(0),
            ..text_header("s")
        });
        assert_eq!(bob.finished(id), b"");
    }
}

#[test]
fn receiver_case_12_inline_of_another_length() {
    for (compression, content) in [(0, b"12345".to_vec()), (1, deflate_raw(b"12345"))] {
        for (declared, expected) in [
            (
                6,
                ReadError::Incomplete {
                    declared: 6,
                    received: 5,
                },
            ),
            (
                4,
                ReadError::LengthExceeded {
                    declared: 4,
                    received: 5,
                },
            ),
        ] {
            let mut bob = Peer::bob();
            let taken = bob.take(Value::StreamHeader(Header {
                inline_content: Some(Bytes::from(content.clone())),
                compression,
                total_length: Some(declared),
                ..byte_header("s")
            }));
            assert_eq!(taken.is_err(), compression == 0);
            let (id, _) = bob.opened();
            assert_eq!(bob.failed(id), expected);
        }
    }
}

#[test]
fn receiver_case_13_deflated_text_over_two_chunks() {
    let text = "gr\u{fc}\u{df}e \u{1f600} ".repeat(5_000);
    let packed = deflate_raw(text.as_bytes());
    let (first, second) = packed.split_at(packed.len() / 2);
    let mut bob = Peer::bob();
    let (id, _) = bob.header(Header {
        compression: 1,
        total_length: Some(text.len() as u64),
        ..text_header("s")
    });
    let mut pieces = Vec::new();
    for (index, part) in [first, second].into_iter().enumerate() {
        bob.take(chunk("s", index as u64, part)).unwrap();
        let (some, end) = bob.read_all(id);
        assert_eq!(end, Read::Pending);
        pieces.extend(some);
    }
    bob.take(trailer("s")).unwrap();
    let (some, end) = bob.read_all(id);
    pieces.extend(some);
    assert!(matches!(end, Read::Finished(_)));
    for piece in &pieces {
        assert!(piece.len() <= 64_000 && std::str::from_utf8(piece).is_ok());
    }
    assert_eq!(pieces.concat(), text.as_bytes());
}

#[test]
fn receiver_case_14_duplicate_chunks_are_dropped() {
    let content = noise(14, 30_000);
    for compression in [0, 1] {
        let wire = if compression == 1 {
            deflate_raw(&content)
        } else {
            content.clone()
        };
        let mut bob = Peer::bob();
        let (id, _) = bob.header(Header {
            compression,
            ..byte_header("s")
        });
        let parts: Vec<&[u8]> = wire.chunks(15_000).collect();
        for (index, part) in parts.iter().enumerate() {
            bob.take(chunk("s", index as u64, part)).unwrap();
            bob.take(chunk("s", index as u64, part)).unwrap();
            bob.take(chunk("s", 0, parts[0])).unwrap();
        }
        bob.take(trailer("s")).unwrap();
        assert_eq!(bob.finished(id), content);
        assert_eq!(
            bob.engine.counters().duplicate_chunks,
            2 * parts.len() as u64
        );
    }
}

#[test]
fn receiver_case_15_a_gap_fails_the_stream() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(byte_header("s"));
    bob.take(chunk("s", 0, "a")).unwrap();
    let fault = bob.take(chunk("s", 2, "c")).unwrap_err();
    assert_eq!(
        fault.rule,
        Rule::Gap {
            expected: 1,
            arrived: 2
        }
    );
    bob.take(chunk("s", 1, "b")).unwrap();
    bob.take(trailer("s")).unwrap();
    let (pieces, end) = bob.read_all(id);
    assert_eq!(pieces.concat(), b"a");
    assert_eq!(
        end,
        Read::Failed(ReadError::Gap {
            expected: 1,
            arrived: 2
        })
    );
}

#[test]
fn receiver_case_16_bytes_may_count_from_one() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(byte_header("s"));
    bob.take(chunk("s", 1, "a")).unwrap();
    bob.take(chunk("s", 2, "b")).unwrap();
    bob.take(trailer("s")).unwrap();
    assert_eq!(bob.finished(id), b"ab");
}

#[test]
fn receiver_case_16_but_not_where_the_first_chunk_may_be_lost() {
    let numbered = |sequence, value| DataPacket {
        sequence,
        ..from_alice(value)
    };
    // Without a gap in the numbers nothing was lost.
    let mut bob = Peer::bob();
    bob.take_packet(numbered(5, Value::StreamHeader(byte_header("s"))))
        .unwrap();
    let (id, _) = bob.opened();
    bob.take_packet(numbered(6, chunk("s", 1, "a"))).unwrap();
    bob.take_packet(numbered(7, trailer("s"))).unwrap();
    assert_eq!(bob.finished(id), b"a");
    // With one, the declared length has to tell.
    for total_length in [None, Some(1)] {
        let mut bob = Peer::bob();
        let header = Header {
            total_length,
            ..byte_header("s")
        };
        bob.take_packet(numbered(5, Value::StreamHeader(header)))
            .unwrap();
        let (id, _) = bob.opened();
        let taken = bob.take_packet(numbered(7, chunk("s", 1, "a")));
        assert_eq!(taken.is_ok(), total_length.is_some());
        let _ = bob.take_packet(numbered(8, trailer("s")));
        let ends_well = matches!(bob.read_all(id).1, Read::Finished(_));
        assert_eq!(ends_well, total_length.is_some());
    }
    // Text never counted from one.
    let mut bob = Peer::bob();
    let (id, _) = bob.header(text_header("s"));
    assert!(bob.take(chunk("s", 1, "a")).is_err());
    assert_eq!(
        bob.failed(id),
        ReadError::Gap {
            expected: 0,
            arrived: 1
        }
    );
}

#[test]
fn receiver_case_17_a_reason_is_an_abort_whatever_the_length() {
    for total_length in [None, Some(4), Some(9)] {
        let mut bob = Peer::bob();
        let (id, _) = bob.header(Header {
            total_length,
            ..byte_header("s")
        });
        bob.take(chunk("s", 0, "four")).unwrap();
        bob.take(trailer_with("s", "boom", &[])).unwrap();
        let (pieces, end) = bob.read_all(id);
        assert_eq!(pieces.concat(), b"four");
        assert_eq!(
            end,
            Read::Failed(ReadError::AbortedBySender {
                reason: "boom".into()
            })
        );
    }
}

#[test]
fn receiver_case_17_a_long_reason_is_cut_on_a_character() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(byte_header("s"));
    bob.take(trailer_with("s", &"\u{20ac}".repeat(2_000), &[]))
        .unwrap();
    match bob.failed(id) {
        ReadError::AbortedBySender { reason } => assert_eq!(reason.len(), 1_023),
        other => panic!("{other:?}"),
    }
}

#[test]
fn receiver_case_18_a_second_header_is_ignored() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(text_header("s"));
    bob.take(chunk("s", 0, "first ")).unwrap();
    bob.take(Value::StreamHeader(byte_header("s"))).unwrap();
    bob.take(Value::StreamHeader(Header {
        inline_content: Some(Bytes::from_static(b"second")),
        ..text_header("s")
    }))
    .unwrap();
    assert_eq!(bob.engine.counters().duplicate_headers, 2);
    assert!(bob.events.is_empty());
    bob.take(chunk("s", 1, "still")).unwrap();
    bob.take(trailer("s")).unwrap();
    assert_eq!(bob.finished(id), b"first still");
    // Once the stream has ended its id is free.
    let (again, _) = bob.header(text_header("s"));
    assert_ne!(again, id);
}

#[test]
fn receiver_case_19_another_publisher_does_not_touch_the_stream() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(text_header("s"));
    bob.take(chunk("s", 0, "mine")).unwrap();
    let as_mallory = |value| DataPacket {
        participant_sid: "PA_mallory".to_owned(),
        ..from_alice(value)
    };
    bob.take_packet(as_mallory(chunk("s", 1, "evil"))).unwrap();
    bob.take_packet(as_mallory(trailer_with("s", "evil", &[])))
        .unwrap();
    let without_sid = |value| DataPacket {
        participant_sid: String::new(),
        ..from_alice(value)
    };
    bob.take_packet(without_sid(chunk("s", 1, "evil"))).unwrap();
    assert_eq!(bob.engine.counters().unknown_stream, 3);
    bob.take(trailer("s")).unwrap();
    assert_eq!(bob.finished(id), b"mine");
}

#[test]
fn receiver_case_19_the_identity_counts_only_without_a_sid() {
    let mut bob = Peer::bob();
    let of = |identity: &str, value| DataPacket {
        participant_identity: identity.to_owned(),
        participant_sid: String::new(),
        value: Some(value),
        ..DataPacket::default()
    };
    bob.take_packet(of("alice", Value::StreamHeader(text_header("s"))))
        .unwrap();
    let (alices, info) = bob.opened();
    assert_eq!(info.publisher, None);
    bob.take_packet(of("mallory", Value::StreamHeader(text_header("s"))))
        .unwrap();
    let (mallorys, _) = bob.opened();
    bob.take_packet(of("alice", chunk("s", 0, "a"))).unwrap();
    bob.take_packet(of("mallory", chunk("s", 0, "m"))).unwrap();
    bob.take_packet(of("alice", trailer("s"))).unwrap();
    bob.take_packet(of("mallory", trailer("s"))).unwrap();
    assert_eq!(bob.finished(alices), b"a");
    assert_eq!(bob.finished(mallorys), b"m");
}

#[test]
fn receiver_case_19_an_agent_speaks_for_a_user() {
    let mut bob = Peer::bob();
    // As the stock server hands it on: the user's identity on the header only.
    let as_agent = |identity: &str, value| DataPacket {
        participant_identity: identity.to_owned(),
        participant_sid: "PA_agent".to_owned(),
        value: Some(value),
        ..DataPacket::default()
    };
    let header = Header {
        attributes: attributes(&[(receipt::ATTRIBUTE, receipt::REQUESTED)]),
        ..text_header("s")
    };
    bob.take_packet(as_agent("user", Value::StreamHeader(header)))
        .unwrap();
    let (id, info) = bob.opened();
    assert_eq!(info.sender, "user");
    assert_eq!(info.publisher, Some("PA_agent".into()));
    bob.take_packet(as_agent("agent", chunk("s", 0, "spoken")))
        .unwrap();
    bob.take_packet(as_agent("agent", trailer("s"))).unwrap();
    assert_eq!(bob.finished(id), b"spoken");
    bob.sent();
    bob.engine.incoming(id).unwrap().confirm(Outcome::Complete);
    assert_eq!(bob.sent()[0].destination_identities, ["agent"]);
}

#[test]
fn receiver_case_20_unknown_compression_or_no_content_header() {
    let mut bob = Peer::bob();
    let header = Header {
        compression: 5,
        ..text_header("s")
    };
    let fault = bob.take(Value::StreamHeader(header)).unwrap_err();
    assert_eq!(fault.rule, Rule::UnknownCompression { number: 5 });
    let header = Header {
        content: None,
        ..text_header("s")
    };
    let fault = bob.take(Value::StreamHeader(header)).unwrap_err();
    assert_eq!(fault.rule, Rule::NoContentHeader);
    bob.take(chunk("s", 0, "x")).unwrap();
    assert!(matches!(
        &bob.events[..],
        [Event::IncomingFailed {
            id: None,
            error: ReadError::UnknownCompression { number: 5 },
            ..
        }]
    ));
    assert_eq!(bob.engine.counters().faults, 2);
}

#[test]
fn receiver_case_21_corrupt_deflate() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(Header {
        compression: 1,
        ..byte_header("s")
    });
    bob.take(chunk("s", 0, [0xff; 100])).unwrap();
    bob.take(trailer("s")).unwrap();
    assert!(matches!(bob.failed(id), ReadError::CorruptDeflate { .. }));
    assert_eq!(bob.engine.incoming(id).unwrap().unread(), 0);
}

#[test]
fn receiver_case_21_deflate_followed_by_more() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(Header {
        compression: 1,
        ..byte_header("s")
    });
    let mut packed = deflate_raw(b"all of it");
    packed.extend_from_slice(b"more");
    bob.take(chunk("s", 0, packed)).unwrap();
    bob.take(trailer("s")).unwrap();
    assert!(matches!(
        bob.failed(id),
        ReadError::CorruptDeflate { received: 9 }
    ));
}

#[test]
fn receiver_case_21_a_cut_deflate_stream_is_not_whole() {
    let content = noise(21, 1_000);
    let packed = deflate_raw(&content);
    for cut in 0..packed.len() {
        for total_length in [None, Some(1_000)] {
            let mut bob = Peer::bob();
            let (id, _) = bob.header(Header {
                compression: 1,
                total_length,
                ..byte_header("s")
            });
            bob.take(chunk("s", 0, &packed[..cut])).unwrap();
            bob.take(trailer("s")).unwrap();
            let (pieces, end) = bob.read_all(id);
            let whole = pieces.concat() == content;
            assert!(
                matches!(end, Read::Failed(_)) || whole,
                "cut at {cut}: {end:?}"
            );
            if total_length.is_none() {
                assert!(matches!(end, Read::Failed(_)), "cut at {cut}");
            }
        }
    }
}

#[test]
fn receiver_case_21_a_sync_flushed_stream_of_the_declared_length_is_whole() {
    use std::io::Write as _;
    let mut encoder =
        flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"flushed, not ended").unwrap();
    encoder.flush().unwrap();
    let packed = encoder.get_ref().clone();
    for (total_length, whole) in [(Some(18), true), (None, false)] {
        let mut bob = Peer::bob();
        let (id, _) = bob.header(Header {
            compression: 1,
            total_length,
            ..text_header("s")
        });
        bob.take(chunk("s", 0, &packed)).unwrap();
        bob.take(trailer("s")).unwrap();
        let (pieces, end) = bob.read_all(id);
        assert_eq!(pieces.concat(), b"flushed, not ended");
        assert_eq!(matches!(end, Read::Finished(_)), whole, "{end:?}");
    }
}

#[test]
fn receiver_case_21_inflation_stops_at_the_limit_inside_a_chunk() {
    let bomb = deflate_raw(&vec![0; 10_000_000]);
    assert!(bomb.len() < 15_000);
    let limit = 200_001;
    let mut bob = Peer::with(Config {
        max_payload: limit,
        ..Config::default()
    });
    let (id, _) = bob.header(Header {
        compression: 1,
        ..byte_header("s")
    });
    bob.take(chunk("s", 0, &bomb)).unwrap();
    let (pieces, end) = bob.read_all(id);
    assert!(pieces.iter().all(|piece| piece.len() <= 64_000));
    assert_eq!(pieces.iter().map(Bytes::len).sum::<usize>() as u64, limit);
    let Read::Failed(ReadError::Limit(Limit::PayloadTooLarge { size, limit: told })) = end else {
        panic!("{end:?}");
    };
    assert_eq!(told, limit);
    assert!(size > limit && size < limit + 64_000);
    assert_eq!(bob.engine.incoming(id).unwrap().unread(), 0);

    let mut bob = Peer::bob();
    let (id, _) = bob.header(Header {
        compression: 1,
        total_length: Some(70_000),
        ..text_header("s")
    });
    bob.take(chunk("s", 0, &bomb)).unwrap();
    let (pieces, end) = bob.read_all(id);
    assert_eq!(pieces.concat().len(), 70_000);
    assert!(matches!(
        end,
        Read::Failed(ReadError::LengthExceeded {
            declared: 70_000,
            ..
        })
    ));
}

#[test]
fn receiver_case_21_a_declared_length_over_the_limit_fails_at_once() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(Header {
        total_length: Some(5_000_000_001),
        ..byte_header("s")
    });
    let limit = Limit::PayloadTooLarge {
        size: 5_000_000_001,
        limit: 5_000_000_000,
    };
    assert_eq!(bob.failed(id), ReadError::Limit(limit));
    bob.take(chunk("s", 0, "x")).unwrap();
    assert_eq!(bob.engine.counters().unknown_stream, 1);
}

#[test]
fn receiver_case_22_an_empty_chunk_advances_the_index() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(text_header("s"));
    bob.take(chunk("s", 0, "a")).unwrap();
    bob.take(chunk("s", 1, "")).unwrap();
    bob.take(chunk("s", 2, "b")).unwrap();
    bob.take(trailer("s")).unwrap();
    assert_eq!(bob.finished(id), b"ab");
}

#[test]
fn receiver_case_23_split_characters_are_joined() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(Header {
        total_length: Some(9),
        ..text_header("s")
    });
    let text = "a\u{20ac}b\u{1f600}".as_bytes();
    for (index, byte) in text.iter().enumerate() {
        bob.take(chunk("s", index as u64, [*byte])).unwrap();
    }
    bob.take(trailer("s")).unwrap();
    let (pieces, end) = bob.read_all(id);
    let pieces: Vec<&str> = pieces
        .iter()
        .map(|piece| std::str::from_utf8(piece).unwrap())
        .collect();
    assert_eq!(pieces, ["a", "\u{20ac}", "b", "\u{1f600}"]);
    assert!(matches!(end, Read::Finished(_)));
}

#[test]
fn receiver_case_23_invalid_text_names_the_offset() {
    for (chunks, offset) in [
        (vec![&b"valid\xffmore"[..]], 5),
        (vec![b"one", b"tw\xe2\x82", b"x"], 5),
        (vec![b"cut\xf0\x9f"], 3),
    ] {
        for compression in [0, 1] {
            let wire = chunks.concat();
            let mut bob = Peer::bob();
            let (id, _) = bob.header(Header {
                compression,
                ..text_header("s")
            });
            if compression == 1 {
                bob.take(chunk("s", 0, deflate_raw(&wire))).unwrap();
            } else {
                for (index, part) in chunks.iter().enumerate() {
                    bob.take(chunk("s", index as u64, part)).unwrap();
                }
            }
            bob.take(trailer("s")).unwrap();
            let (pieces, end) = bob.read_all(id);
            assert_eq!(pieces.concat(), &wire[..offset as usize]);
            assert_eq!(end, Read::Failed(ReadError::InvalidText { offset }));
        }
    }
}

#[test]
fn receiver_case_24_length_zero_with_content() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(Header {
        total_length: Some(0),
        ..text_header("s")
    });
    assert!(bob.take(chunk("s", 0, "x")).is_err());
    assert_eq!(
        bob.failed(id),
        ReadError::LengthExceeded {
            declared: 0,
            received: 1
        }
    );
}

#[test]
fn receiver_case_25_an_unknown_topic_keeps_nothing() {
    let mut bob = Peer::bob();
    let header = Header {
        topic: "other".to_owned(),
        ..text_header("s")
    };
    bob.take(Value::StreamHeader(header)).unwrap();
    match &bob.events[..] {
        [Event::Unclaimed(info)] => assert_eq!(info.topic, "other"),
        other => panic!("{other:?}"),
    }
    bob.take(chunk("s", 0, "x")).unwrap();
    bob.take(trailer("s")).unwrap();
    let counters = bob.engine.counters();
    assert_eq!((counters.unclaimed, counters.unknown_stream), (1, 2));
}

#[test]
fn receiver_case_26_the_idle_timeout() {
    let second = Duration::from_secs(1);
    let mut bob = Peer::bob();
    let (id, _) = bob.header(byte_header("s"));
    assert_eq!(bob.engine.poll_timeout(), None);
    let now = bob.now;
    bob.engine
        .incoming(id)
        .unwrap()
        .set_idle_timeout(now, Some(10 * second));
    bob.pass(9 * second);
    bob.take(chunk("s", 0, "a")).unwrap();
    bob.pass(9 * second);
    assert_eq!(bob.engine.poll_timeout(), Some(bob.now + second));
    bob.pass(second);
    assert_eq!(
        bob.failed(id),
        ReadError::Limit(Limit::Idle { idle: 10 * second })
    );

    let mut bob = Peer::with(Config {
        idle_timeout: Some(second),
        ..Config::default()
    });
    let (id, _) = bob.header(byte_header("s"));
    bob.take(chunk("s", 0, "a")).unwrap();
    bob.take(trailer("s")).unwrap();
    bob.pass(2 * second);
    assert_eq!(bob.finished(id), b"a");
}

#[test]
fn receiver_case_28_a_higher_version_of_a_received_chunk_is_dropped() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(text_header("s"));
    bob.take(chunk("s", 0, "first")).unwrap();
    bob.take(Value::StreamChunk(Chunk {
        stream_id: "s".to_owned(),
        chunk_index: 0,
        content: Bytes::from_static(b"other"),
        version: 3,
        ..Chunk::default()
    }))
    .unwrap();
    bob.take(trailer("s")).unwrap();
    assert_eq!(bob.finished(id), b"first");
    assert_eq!(bob.engine.counters().duplicate_chunks, 1);
}

#[test]
fn packets_seen_before_are_dropped_by_their_number() {
    let mut bob = Peer::bob();
    let numbered = |sequence, value| DataPacket {
        sequence,
        ..from_alice(value)
    };
    bob.take_packet(numbered(1, Value::StreamHeader(text_header("s"))))
        .unwrap();
    let (id, _) = bob.opened();
    for _ in 0..2 {
        bob.take_packet(numbered(2, chunk("s", 0, "a"))).unwrap();
        bob.take_packet(numbered(1, Value::StreamHeader(text_header("s"))))
            .unwrap();
    }
    bob.take_packet(numbered(3, trailer("s"))).unwrap();
    bob.take_packet(numbered(1, Value::StreamHeader(text_header("s"))))
        .unwrap();
    assert_eq!(bob.finished(id), b"a");
    let counters = bob.engine.counters();
    assert_eq!(
        (counters.duplicate_packets, counters.duplicate_headers),
        (4, 0)
    );
    let states: Vec<_> = bob
        .engine
        .receive_states()
        .map(|(sid, last)| (sid.to_string(), last))
        .collect();
    assert_eq!(states, [("PA_alice".to_owned(), 3)]);
}

#[test]
fn streams_come_on_the_reliable_channel_only() {
    let mut bob = Peer::bob();
    let packet = from_alice(Value::StreamHeader(text_header("s"))).to_bytes();
    let fault = bob
        .engine
        .handle_packet(bob.now, Channel::Lossy, packet)
        .unwrap_err();
    assert_eq!(fault.rule, Rule::WrongChannel);
}

#[test]
fn attributes_are_limited() {
    let many: Vec<(String, String)> = (0..257).map(|n| (n.to_string(), String::new())).collect();
    let pairs: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let large = "x".repeat(32 * 1024);
    for pairs in [&pairs[..], &[("k", large.as_str())]] {
        let mut bob = Peer::bob();
        let header = Header {
            attributes: attributes(pairs),
            ..text_header("h")
        };
        let fault = bob.take(Value::StreamHeader(header)).unwrap_err();
        assert!(matches!(fault.rule, Rule::TooManyAttributes { .. }));
        let (id, _) = bob.header(text_header("s"));
        assert!(bob.take(trailer_with("s", "", pairs)).is_err());
        assert!(matches!(
            bob.failed(id),
            ReadError::TooManyAttributes { .. }
        ));
    }
}

/// An id of nothing is two bytes in a header and more than twenty times that in memory.
#[test]
fn attachments_are_limited() {
    let mut bob = Peer::bob();
    let with = |id: &str, attachments: usize| Header {
        content: Some(WireContent::Text(TextHeader {
            attached_stream_ids: vec![String::new(); attachments],
            ..TextHeader::default()
        })),
        ..text_header(id)
    };
    let (_, info) = bob.header(with("most", 1024));
    match &info.content {
        Content::Text { attachments, .. } => assert_eq!(attachments.len(), 1024),
        other => panic!("{other:?}"),
    }
    let fault = bob
        .take(Value::StreamHeader(with("more", 1025)))
        .unwrap_err();
    assert_eq!(
        fault.rule,
        Rule::TooManyAttachments {
            count: 1025,
            limit: 1024
        }
    );
    assert_eq!(fault.stream.unwrap(), "more");
}

#[test]
fn streams_are_limited_for_each_and_for_all() {
    let mut bob = Peer::with(Config {
        max_incoming: 3,
        max_incoming_per_publisher: 2,
        ..Config::default()
    });
    let of = |sid: &str, id: &str| DataPacket {
        participant_sid: sid.to_owned(),
        ..from_alice(Value::StreamHeader(text_header(id)))
    };
    bob.take_packet(of("PA_1", "a")).unwrap();
    let (first, _) = bob.opened();
    bob.take_packet(of("PA_1", "b")).unwrap();
    let fault = bob.take_packet(of("PA_1", "c")).unwrap_err();
    assert_eq!(fault.rule, Rule::TooManyStreams { limit: 2 });
    bob.take_packet(of("PA_2", "a")).unwrap();
    let fault = bob.take_packet(of("PA_2", "b")).unwrap_err();
    assert_eq!(fault.rule, Rule::TooManyStreams { limit: 3 });
    // An ended stream keeps its place until it is released.
    bob.engine.incoming(first).unwrap().release(bob.now);
    bob.take_packet(of("PA_2", "b")).unwrap();
}

#[test]
fn a_released_stream_takes_nothing_more() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(byte_header("s"));
    bob.take(chunk("s", 0, "x")).unwrap();
    bob.engine.incoming(id).unwrap().release(bob.now);
    assert!(bob.engine.incoming(id).is_none());
    bob.take(chunk("s", 1, "y")).unwrap();
    bob.take(trailer("s")).unwrap();
    assert_eq!(bob.engine.counters().unknown_stream, 2);
}

fn receipts(packets: &[DataPacket]) -> Vec<(Status, u64)> {
    packets
        .iter()
        .map(|packet| {
            assert_eq!(packet.destination_identities, ["alice"]);
            assert_eq!(packet.participant_identity, "bob");
            assert!(packet.sequence > 0);
            let Some(Value::User(user)) = &packet.value else {
                panic!("no user packet");
            };
            assert_eq!(user.topic.as_deref(), Some("lkstream.receipt"));
            let receipt = Receipt::from_bytes(user.payload.clone()).unwrap();
            assert_eq!(receipt.stream_id, "s");
            (receipt.status(), receipt.bytes_received)
        })
        .collect()
}

#[test]
fn receipts_say_accepted_then_complete_or_failed_once() {
    for outcome in [
        Some(Outcome::Complete),
        Some(Outcome::Failed {
            reason: "no room on the disk".into(),
        }),
        None,
    ] {
        let mut bob = Peer::bob();
        let (id, info) = bob.header(Header {
            attributes: attributes(&[(receipt::ATTRIBUTE, receipt::REQUESTED), ("k", "v")]),
            ..text_header("s")
        });
        assert_eq!(info.attributes, attributes(&[("k", "v")]));
        assert_eq!(receipts(&bob.sent()), [(Status::Accepted, 0)]);
        bob.take(chunk("s", 0, "abc")).unwrap();
        bob.take(trailer("s")).unwrap();
        assert_eq!(bob.finished(id), b"abc");
        if let Some(outcome) = outcome.clone() {
            bob.engine.incoming(id).unwrap().confirm(outcome);
            bob.engine.incoming(id).unwrap().confirm(Outcome::Failed {
                reason: String::new(),
            });
        }
        bob.engine.incoming(id).unwrap().release(bob.now);
        let status = match outcome {
            Some(Outcome::Complete) => Status::Complete,
            _ => Status::Failed,
        };
        assert_eq!(receipts(&bob.sent()), [(status, 3)]);
    }
}

#[test]
fn nobody_who_did_not_ask_gets_a_receipt() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(text_header("s"));
    bob.take(trailer("s")).unwrap();
    bob.engine.incoming(id).unwrap().confirm(Outcome::Complete);
    bob.engine.incoming(id).unwrap().release(bob.now);
    assert!(bob.sent().is_empty());
}

#[test]
fn receipts_and_user_packets_arrive_as_events() {
    let mut bob = Peer::bob();
    let receipt = Receipt {
        stream_id: "mine".to_owned(),
        status: Status::Complete.into(),
        bytes_received: 9,
        reason: String::new(),
    };
    bob.take(Value::User(UserPacket {
        topic: Some(receipt::TOPIC.to_owned()),
        payload: receipt.to_bytes(),
        ..UserPacket::default()
    }))
    .unwrap();
    bob.take(Value::User(UserPacket {
        topic: Some("t".to_owned()),
        payload: Bytes::from_static(b"payload"),
        ..UserPacket::default()
    }))
    .unwrap();
    match &bob.events[..] {
        [
            Event::Receipt {
                stream,
                from,
                status,
                bytes_received,
                ..
            },
            Event::UserPacket(message),
        ] => {
            assert_eq!((stream.as_str(), from.as_str()), ("mine", "alice"));
            assert_eq!((*status, *bytes_received), (Status::Complete, 9));
            assert_eq!(message.topic.as_ref().unwrap(), "t");
            assert_eq!(message.from, "alice");
            assert_eq!(&message.payload[..], b"payload");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn pieces_share_the_packet() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(byte_header("s"));
    let packet = from_alice(chunk("s", 0, noise(1, 10_000))).to_bytes();
    let range = packet.as_ptr_range();
    bob.engine
        .handle_packet(bob.now, Channel::Reliable, packet.clone())
        .unwrap();
    match bob.read(id) {
        Read::Piece(piece) => assert!(range.contains(&piece.as_ptr())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_large_chunk_is_read_in_pieces_of_64000() {
    let mut bob = Peer::bob();
    let (id, _) = bob.header(text_header("s"));
    let content = "\u{20ac}".repeat(21_700);
    bob.take(chunk("s", 0, &content)).unwrap();
    let (pieces, _) = bob.read_all(id);
    assert_eq!(pieces[0].len(), 63_999);
    assert_eq!(pieces.concat(), content.as_bytes());
}

#[test]
fn a_length_in_the_trailer_is_checked_and_not_shown() {
    for (said, whole) in [("3", true), ("4", false), ("2", false), ("many", true)] {
        for compression in [0, 1] {
            let mut bob = Peer::bob();
            let (id, _) = bob.header(Header {
                compression,
                ..byte_header("s")
            });
            let content = if compression == 1 {
                deflate_raw(b"abc")
            } else {
                b"abc".to_vec()
            };
            bob.take(chunk("s", 0, content)).unwrap();
            let _ = bob.take(trailer_with("s", "", &[("lkstream.length", said)]));
            match bob.read_all(id).1 {
                Read::Finished(summary) => {
                    assert!(whole);
                    assert!(summary.attributes.is_empty());
                }
                Read::Failed(error) => {
                    assert!(!whole);
                    let (declared, received) = (said.parse().unwrap(), 3);
                    if declared > received {
                        assert_eq!(error, ReadError::Incomplete { declared, received });
                    } else {
                        assert_eq!(error, ReadError::LengthExceeded { declared, received });
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn limits_without_bound_do_not_overflow() {
    let mut bob = Peer::with(Config {
        reader_budget: usize::MAX,
        connection_budget: usize::MAX,
        stall_limit: Duration::MAX,
        leave_grace: Duration::MAX,
        idle_timeout: Some(Duration::MAX),
        write_window: usize::MAX,
        max_payload: u64::MAX,
        ..Config::default()
    });
    let (id, _) = bob.header(byte_header("s"));
    bob.take(chunk("s", 0, "a")).unwrap();
    bob.engine
        .participant_left(bob.now, &"PA_alice".into(), &"alice".into());
    bob.pass(Duration::from_secs(3600));
    assert_eq!(bob.engine.poll_timeout(), None);
    let outgoing = bob.engine.open(bytes()).unwrap();
    let written = bob
        .engine
        .outgoing(outgoing)
        .unwrap()
        .write(Bytes::from_static(b"x"));
    assert_eq!(written, Ok(lkstream_engine::Written::All));
    bob.take(trailer("s")).unwrap();
    assert_eq!(bob.finished(id), b"a");
}
