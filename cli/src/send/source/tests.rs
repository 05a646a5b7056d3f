#![allow(clippy::unwrap_used)]

use super::*;

fn files(paths: &[&Path], name: Option<&str>) -> Result<Vec<Source>, Failure> {
    Source::all(&Arguments {
        files: paths.iter().map(|path| (*path).to_owned()).collect(),
        name: name.map(str::to_owned),
        max_size: 3,
        ..Arguments::default()
    })
}

#[test]
fn characters_that_are_cut_wait_for_their_end() {
    let text = "aé€😀z";
    for size in 1..=text.len() {
        let mut utf8 = Utf8::default();
        let pieces: Vec<String> = text
            .as_bytes()
            .chunks(size)
            .map(|piece| utf8.push(piece).unwrap())
            .collect();
        assert_eq!(pieces.concat(), text, "pieces of {size}");
        utf8.finish().unwrap();
    }
}

#[test]
fn what_is_no_text_is_named_by_its_offset() {
    let mut utf8 = Utf8::default();
    assert_eq!(utf8.push(b"abc").unwrap(), "abc");
    assert_eq!(utf8.push(b"de\xff"), Err(5));
    let mut cut = Utf8::default();
    assert_eq!(cut.push(b"ab\xc3").unwrap(), "ab");
    assert_eq!(cut.finish(), Err(2));
}

#[test]
fn files_are_checked_first() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.txt");
    std::fs::write(&file, "abc").unwrap();
    assert_eq!(
        files(&[&file], None).unwrap(),
        [Source::File {
            path: file.clone(),
            name: "a.txt".into(),
            length: 3
        }]
    );
    assert_eq!(
        files(&[&file], Some("b.txt")).unwrap(),
        [Source::File {
            path: file.clone(),
            name: "b.txt".into(),
            length: 3
        }]
    );
    let large = dir.path().join("large");
    std::fs::write(&large, "abcd").unwrap();
    let refused = files(&[&large], None).unwrap_err();
    assert!(
        refused
            .cause
            .ends_with("has 4 bytes, and a stream takes 3 at most")
            && refused.remedy.contains("--max-size"),
        "{refused}"
    );
    let missing = files(&[&dir.path().join("none")], None).unwrap_err();
    assert!(missing.cause.ends_with("does not exist"), "{missing}");
    let directory = files(&[dir.path()], None).unwrap_err();
    assert!(directory.cause.ends_with("is a directory"), "{directory}");
    assert_eq!(
        files(&[&file, &file], Some("c")).unwrap_err().code,
        Code::Usage
    );
    assert_eq!(
        files(&[Path::new("-"), Path::new("-")], None)
            .unwrap_err()
            .code,
        Code::Usage
    );
    assert_eq!(
        files(&[Path::new("-")], Some("n")).unwrap(),
        [Source::Bytes { name: "n".into() }]
    );
}

#[test]
fn texts_come_from_the_line_or_from_standard_input() {
    let text = |text: &str| {
        Source::all(&Arguments {
            text: Some(text.into()),
            ..Arguments::default()
        })
        .unwrap()
    };
    assert_eq!(text("-"), [Source::TextInput]);
    assert_eq!(text(""), [Source::Text(String::new())]);
    assert_eq!(text("hello"), [Source::Text("hello".into())]);
}
