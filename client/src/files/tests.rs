//! Names, numbering, and that nothing half-written stays behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

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
    let temporary = target.temporary();
    let mut partial = Partial::create(target, &temporary)?;
    partial.write(&[Bytes::from_static(content)])?;
    partial.place()
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
        ("a\u{200b}b\u{ad}c", "a_b_c"),
        ("rep\u{200d}ort.pdf", "rep_ort.pdf"),
        ("report\u{fe0f}.pdf", "report_.pdf"),
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
fn names_of_any_script_arrive_as_they_were() {
    for name in [
        // Persian with a non-joiner, Hindi with joiner and non-joiner, Hebrew with a mark, Thai, Korean.
        "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}.txt",
        "\u{915}\u{94d}\u{200d}\u{937} \u{915}\u{94d}\u{200c}\u{937}.pdf",
        "\u{5e9}\u{5dc}\u{5d5}\u{5dd}\u{200f}!.doc",
        "\u{e23}\u{e32}\u{e22}\u{e07}\u{e32}\u{e19}.txt",
        "\u{bcf4}\u{ace0}\u{c11c} (\u{cd5c}\u{c885}).hwp",
        // Composed and decomposed.
        "r\u{e9}sum\u{e9}.txt",
        "re\u{301}sume\u{301}.txt",
        // A family, a heart on fire, a keycap, Scotland, a variant of an ideograph.
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}.jpg",
        "\u{2764}\u{fe0f}\u{200d}\u{1f525}.png",
        "1\u{fe0f}\u{20e3}.png",
        "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}.png",
        "\u{845b}\u{e0100}.txt",
        "100 % \u{2013} \u{201e}ja\u{201c} & (1).tar.gz",
        "-rf",
    ] {
        assert_eq!(safe_name(name), name, "{}", name.escape_unicode());
        assert_eq!(printable(name), name, "{}", name.escape_unicode());
    }
    let times = "10:30 \"a\" <b> | c?*.log";
    let expected = if cfg!(windows) {
        "10_30 _a_ _b_ _ c__.log"
    } else {
        times
    };
    assert_eq!(safe_name(times), expected);
    assert_eq!(
        names::portable_name(times).unwrap(),
        "10_30 _a_ _b_ _ c__.log"
    );
    let long = "\u{5b57}".repeat(83) + ".txt";
    assert_eq!((long.len(), safe_name(&long)), (253, long));
}

#[test]
fn long_names_keep_their_extension_and_their_characters() {
    let long = format!("{}.tar.gz", "\u{1f600}".repeat(100));
    let safe = safe_name(&long);
    assert!(
        safe.len() > 248 && safe.len() <= 255 && safe.ends_with("\u{1f600}.gz"),
        "{safe}"
    );
    let numbered = numbered_name(&safe, 9999);
    assert!(
        numbered.len() <= 255 && numbered.ends_with("\u{1f600} (9999).gz"),
        "{numbered}"
    );
    let no_stem = safe_name(&format!("a.{}", "x".repeat(300)));
    assert_eq!(no_stem.len(), 255);
    // Cutting must not leave what trimming removes.
    let dots = safe_name(&format!("{}{}", "a".repeat(254), ". . . . ."));
    assert_eq!(dots, "a".repeat(254));
    assert_eq!(safe_name(&format!("CON{}x", " ".repeat(300))), "_CON");
}

/// Names from pieces that matter, and from any characters.
fn any_name() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<char>().prop_map(String::from),
        "[a-z\u{400}-\u{4ff}\u{620}-\u{64a}\u{4e00}-\u{4eff}\u{1f600}-\u{1f64f}]{1,4}",
        proptest::sample::select(vec![
            "/",
            "\\",
            ".",
            "..",
            " ",
            "\0",
            "\n",
            "\u{1b}",
            "\u{9b}",
            "\u{85}",
            ":",
            "CON",
            "nul",
            "COM1",
            "\u{202e}",
            "\u{2066}",
            "\u{200b}",
            "\u{200c}",
            "\u{200d}",
            "\u{200f}",
            "\u{fe0f}",
            "\u{20e3}",
            "\u{1f3f4}",
            "\u{e0067}",
            "\u{3164}",
            "\u{3000}",
            "\u{a0}",
            "\u{2028}",
            ".tar.gz",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..100).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_name_is_safe(name in any_name(), number in 0..20_000_u32) {
        let safe = safe_name(&name);
        for name in [safe.clone(), numbered_name(&safe, number)] {
            prop_assert!(!name.is_empty() && name.len() <= 255);
            prop_assert!(!name.starts_with(['.', ' ']) && !name.ends_with(['.', ' ']));
            prop_assert!(!name.contains(['/', '\\']));
            prop_assert_eq!(Path::new(&name).components().count(), 1);
            prop_assert!(Hazard::all(&name).all(|(_, hazard)| hazard.is_none()));
            prop_assert!(!name.contains(|c: char| c.is_control()));
        }
        let device = safe.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
        prop_assert!(!["CON", "NUL", "COM1"].contains(&device.as_str()));
        prop_assert_eq!(safe_name(&safe), safe);
    }

    #[test]
    fn a_name_without_hazards_is_kept(name in "[\\p{L}\\p{N}][\\p{L}\\p{M}\\p{N}\\p{Sm}\\p{Sc}]{0,20}\\.[a-z]{1,4}") {
        let hazards = Hazard::all(&name).any(|(_, hazard)| hazard.is_some());
        prop_assume!(!hazards && !cfg!(windows));
        let device = name.split('.').next().unwrap_or_default().to_ascii_uppercase();
        prop_assume!(!["CON", "PRN", "AUX", "NUL"].contains(&device.as_str()));
        prop_assert_eq!(safe_name(&name), name);
    }

    #[test]
    fn what_is_printed_has_no_hazard(text in any_name()) {
        let shown = printable(&text);
        prop_assert_eq!(shown.chars().count(), text.chars().count());
        prop_assert!(Hazard::all(&shown).all(|(_, hazard)| hazard.is_none()));
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
    let target = Target::Path(late.clone());
    let temporary = target.temporary();
    let partial = Partial::create(target, &temporary).unwrap();
    fs::write(&late, b"theirs").unwrap();
    assert_eq!(
        partial.place(),
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
    let target = in_directory(directory.path(), "a");
    let temporary = target.temporary();
    let mut partial = Partial::create(target, &temporary).unwrap();
    partial.write(&[Bytes::from_static(b"half")]).unwrap();
    assert_eq!(names(directory.path()).len(), 1);
    drop(partial);
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[test]
fn what_killed_processes_left_is_removed_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let target = in_directory(directory.path(), "a");
    let held = Partial::create(target.clone(), &target.temporary()).unwrap();
    let left = ".lkstream-0123456789abcdef.part";
    let others = [
        ".lkstream-0123456789ABCDEF.part",
        ".lkstream-0123456789abcde.part",
        "lkstream-0123456789abcdef.part",
        ".lkstream-0123456789abcdef.part2",
        "a.part",
    ];
    for name in others.iter().chain([&left]) {
        fs::write(directory.path().join(name), "x").unwrap();
    }
    assert_eq!(remove_leftovers(directory.path()).unwrap(), 1);
    let kept = names(directory.path());
    assert_eq!(kept.len(), others.len() + 1, "{kept:?}");
    assert!(!kept.contains(&left.to_owned()), "{kept:?}");
    assert_eq!(held.place().unwrap(), directory.path().join("a"));
    assert!(remove_leftovers(directory.path().join("missing")).is_err());
}

#[test]
fn a_temporary_file_can_be_removed_under_its_writer() {
    let directory = tempfile::tempdir().unwrap();
    let target = in_directory(directory.path(), "a");
    let temporary = target.temporary();
    let mut partial = Partial::create(target, &temporary).unwrap();
    drop(Removal::of(&temporary));
    assert_eq!(names(directory.path()), Vec::<String>::new());
    // The thread that still works on it stores nothing.
    partial.write(&[Bytes::from_static(b"late")]).unwrap();
    partial.place().unwrap_err();
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

/// More at once than there are threads, some given up: every one ends, and few threads do it.
#[tokio::test]
async fn many_files_are_stored_by_a_few_threads() {
    let directory = tempfile::tempdir().unwrap();
    let mut storing = Vec::new();
    for number in 0..500 {
        let target = in_directory(directory.path(), &number.to_string());
        let temporary = target.temporary();
        storing.push(tokio::spawn(super::finish(move || {
            let mut partial = Partial::create(target, &temporary)?;
            partial.write(&[Bytes::from_static(b"x")])?;
            Ok(partial)
        })));
    }
    tokio::task::yield_now().await;
    for given_up in storing.drain(400..) {
        given_up.abort();
        let _ = given_up.await;
    }
    for stored in storing {
        stored.await.unwrap().unwrap();
    }
    let threads = names(directory.path());
    assert!(threads.iter().all(|name| !name.ends_with(".part")));
    #[cfg(target_os = "linux")]
    {
        let writers = fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
            .filter(|name| name.trim() == "lkstream-files")
            .count();
        assert!(writers <= 8, "{writers} threads");
    }
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
