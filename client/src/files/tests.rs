//! Names, numbering, and that nothing half-written stays behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::{SaveError, SendError};

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn store(target: Target, content: &'static [u8]) -> Result<std::path::PathBuf, SaveError> {
    let mut partial = Partial::create(target)?;
    partial.write(&[Bytes::from_static(content)])?;
    partial.finish()
}

fn in_directory(directory: &Path, name: &str) -> Target {
    Target::Directory {
        directory: directory.to_owned(),
        name: name.to_owned(),
    }
}

#[test]
fn names_become_one_harmless_component() {
    for (name, safe) in [
        ("report.pdf", "report.pdf"),
        (
            "r\u{e9}sum\u{e9} \u{1f600}.txt",
            "r\u{e9}sum\u{e9} \u{1f600}.txt",
        ),
        ("a/b/c.txt", "c.txt"),
        ("a\\b\\c.txt", "c.txt"),
        ("../../etc/passwd", "passwd"),
        ("/", "unnamed"),
        ("", "unnamed"),
        (".", "unnamed"),
        ("..", "unnamed"),
        ("...", "unnamed"),
        ("a/..", "unnamed"),
        ("  ", "unnamed"),
        ("dir/", "dir"),
        (".bashrc", "_bashrc"),
        ("..hidden", "_.hidden"),
        ("a\0b\nc\x7f\u{85}d", "a_b_c__d"),
        ("C:evil", "C_evil"),
        ("what?.txt", "what_.txt"),
        ("a\u{202e}gpj.exe", "a_gpj.exe"),
        ("trailing. . ", "trailing"),
        (" leading", "leading"),
        ("CON", "_CON"),
        ("con.txt", "_con.txt"),
        ("Nul.tar.gz", "_Nul.tar.gz"),
        ("com1", "_com1"),
        ("LPT\u{b9}.x", "_LPT\u{b9}.x"),
        ("com10", "com10"),
        ("console", "console"),
    ] {
        assert_eq!(safe_name(name), safe, "{name:?}");
        assert_eq!(safe_name(safe), safe, "twice {name:?}");
    }
}

#[test]
fn long_names_keep_their_extension_and_their_characters() {
    let long = format!("{}.tar.gz", "\u{1f600}".repeat(100));
    let safe = safe_name(&long);
    assert!(
        safe.len() <= 200 && safe.ends_with("\u{1f600}.gz"),
        "{safe}"
    );
    let no_stem = safe_name(&format!("a.{}", "x".repeat(300)));
    assert_eq!(no_stem.len(), 200);
    // Cutting must not leave what trimming removes.
    let dots = safe_name(&format!("{}{}", "a".repeat(199), ". . . . ."));
    assert_eq!(dots, "a".repeat(199));
}

#[test]
fn any_name_is_safe() {
    // Every character class in every position, with a small fixed generator instead of a crate.
    let alphabet = [
        '/', '\\', '.', ' ', 'a', '\0', ':', '\u{202e}', 'N', 'U', 'L', '\u{e9}',
    ];
    let mut seed = 7_u64;
    for _ in 0..20_000 {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mut rest = seed >> 16;
        let name: String = (0..rest % 9)
            .map(|_| {
                rest /= 12;
                alphabet[usize::try_from(rest % 12).unwrap()]
            })
            .collect();
        let safe = safe_name(&name);
        assert!(!safe.is_empty() && safe.len() <= 201, "{name:?}");
        assert!(
            !safe.starts_with('.') && !safe.ends_with(['.', ' ']),
            "{name:?} gave {safe:?}"
        );
        assert!(
            !safe.contains(['/', '\\', '\0', ':', '\u{202e}']),
            "{name:?} gave {safe:?}"
        );
        assert_eq!(
            Path::new(&safe).components().count(),
            1,
            "{name:?} gave {safe:?}"
        );
        assert_ne!(safe.to_ascii_uppercase(), "NUL");
    }
}

#[test]
fn numbers_go_before_the_extension() {
    for (name, number, numbered) in [
        ("a.txt", 0, "a.txt"),
        ("a.txt", 1, "a (1).txt"),
        ("a.tar.gz", 2, "a.tar (2).gz"),
        ("README", 3, "README (3)"),
        ("_bashrc", 1, "_bashrc (1)"),
    ] {
        assert_eq!(numbered_name(name, number), numbered);
    }
}

#[test]
fn a_directory_gets_numbered_names_and_no_leftovers() {
    let directory = tempfile::tempdir().unwrap();
    for content in [&b"one"[..], b"two", b"three"] {
        store(in_directory(directory.path(), "x/../a.txt"), content).unwrap();
    }
    assert_eq!(names(directory.path()), ["a (1).txt", "a (2).txt", "a.txt"]);
    assert_eq!(fs::read(directory.path().join("a.txt")).unwrap(), b"one");
    assert_eq!(
        fs::read(directory.path().join("a (2).txt")).unwrap(),
        b"three"
    );
}

#[test]
fn an_exact_path_is_never_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.txt");
    assert_eq!(store(Target::Path(path.clone()), b"one").unwrap(), path);
    assert_eq!(
        store(Target::Path(path.clone()), b"two"),
        Err(SaveError::Exists { path: path.clone() })
    );
    // Somebody else was faster while the stream arrived.
    let late = directory.path().join("b.txt");
    let partial = Partial::create(Target::Path(late.clone())).unwrap();
    fs::write(&late, b"theirs").unwrap();
    assert_eq!(
        partial.finish(),
        Err(SaveError::Exists { path: late.clone() })
    );
    assert_eq!(fs::read(&path).unwrap(), b"one");
    assert_eq!(fs::read(&late).unwrap(), b"theirs");
    assert_eq!(names(directory.path()), ["a.txt", "b.txt"]);
}

#[cfg(unix)]
#[test]
fn a_dangling_link_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("a.txt");
    std::os::unix::fs::symlink(directory.path().join("elsewhere"), &link).unwrap();
    assert_eq!(
        store(Target::Path(link.clone()), b"x"),
        Err(SaveError::Exists { path: link })
    );
    let stored = store(in_directory(directory.path(), "a.txt"), b"x").unwrap();
    assert_eq!(stored, directory.path().join("a (1).txt"));
    assert!(!directory.path().join("elsewhere").exists());
}

#[test]
fn a_dropped_partial_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut partial = Partial::create(in_directory(directory.path(), "a")).unwrap();
    partial.write(&[Bytes::from_static(b"half")]).unwrap();
    assert_eq!(names(directory.path()).len(), 1);
    drop(partial);
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[test]
fn a_missing_directory_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let error = store(in_directory(&missing, "a"), b"x").unwrap_err();
    assert!(
        matches!(&error, SaveError::File { path, .. } if *path == missing),
        "{error:?}"
    );
    let error = store(Target::Path(missing.join("a")), b"x").unwrap_err();
    assert!(
        matches!(&error, SaveError::File { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound)
    );
}

/// What is announced, and what is read.
fn read_all(path: &Path) -> Result<(Option<u64>, Vec<u8>), SendError> {
    let (first, mut blocks) = match Source::open(path)?.start()? {
        Start::Whole(content) => return Ok((Some(content.len() as u64), content.to_vec())),
        Start::Blocks(first, blocks) => (first, blocks),
    };
    let mut all = first.to_vec();
    while let Some(block) = blocks.next()? {
        all.extend_from_slice(&block);
    }
    Ok((blocks.length(), all))
}

fn blocks_of(path: &Path) -> Blocks {
    match Source::open(path).unwrap().start().unwrap() {
        Start::Blocks(_, blocks) => blocks,
        Start::Whole(content) => panic!("{} bytes are all of it", content.len()),
    }
}

#[test]
fn a_source_reads_what_it_announced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    for size in [0_usize, 1, 239_999, 240_000, 240_001, 480_000, 1_000_000] {
        let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        fs::write(&path, &content).unwrap();
        assert!(
            read_all(&path).unwrap() == (Some(size as u64), content),
            "{size} bytes"
        );
    }
}

/// Their metadata says 0 or 4096 bytes, whatever is in them.
#[cfg(target_os = "linux")]
#[test]
fn files_of_the_kernel_are_read_to_their_end() {
    for (path, hint) in [
        ("/proc/version", 0),
        ("/sys/kernel/mm/transparent_hugepage/enabled", 4096),
    ] {
        let path = Path::new(path);
        let Ok(metadata) = fs::metadata(path) else {
            continue;
        };
        assert_eq!(metadata.len(), hint);
        let (length, content) = read_all(path).unwrap();
        assert_eq!(length, Some(content.len() as u64));
        assert!(!content.is_empty() && content == fs::read(path).unwrap());
    }
    // More than a block, where it may be read.
    let symbols = Path::new("/proc/kallsyms");
    if let Ok((length, content)) = read_all(symbols) {
        assert_eq!(content.len(), fs::read(symbols).unwrap().len());
        let is_whole = content.len() < 240_000;
        assert_eq!(length, is_whole.then_some(content.len() as u64));
    }
}

#[test]
fn a_file_that_changes_is_an_error() {
    use std::io::Write;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    fs::write(&path, [1; 300_000]).unwrap();

    let mut blocks = blocks_of(&path);
    fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"more")
        .unwrap();
    blocks.next().unwrap();
    let grown = SendError::FileChanged {
        path: path.clone(),
        announced: 300_000,
        found: 300_004,
    };
    assert_eq!(blocks.next(), Err(grown));

    let mut blocks = blocks_of(&path);
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(240_010)
        .unwrap();
    let cut = SendError::FileChanged {
        path: path.clone(),
        announced: 300_004,
        found: 240_010,
    };
    assert_eq!(blocks.next(), Err(cut));

    let mut blocks = blocks_of(&path);
    while Some(blocks.offset()) < blocks.length() {
        blocks.next().unwrap();
    }
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    assert_eq!(blocks.next(), Err(SendError::FileModified { path }));
}

#[test]
fn only_regular_files_are_sent() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    assert_eq!(
        Source::open(&path).unwrap_err(),
        SendError::NotAFile { path }
    );
    let missing = directory.path().join("missing");
    assert!(matches!(
        Source::open(&missing).unwrap_err(),
        SendError::File { .. }
    ));
    #[cfg(unix)]
    assert!(matches!(
        Source::open(Path::new("/dev/zero")).unwrap_err(),
        SendError::NotAFile { .. }
    ));
}
