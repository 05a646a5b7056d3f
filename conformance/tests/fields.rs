//! Every field of a stream on the wire, by binding: docs/fields.md is made from the table below, which must name each
//! field that the official schema has, and nothing else.
//!
//! `LKSTREAM_WRITE=1 cargo test -p lkstream-conformance --test fields` writes the page anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use livekit_protocol::data_stream::{ByteHeader, Chunk, Header, TextHeader, Trailer};
use lkstream::{
    Attributes, ByteOptions, ByteReader, CloseError, Compress, Content, Sent, StreamInfo,
    TextOperation, TextOptions, TextReader, TextWriter,
};

/// A field of the wire and how each binding sets and reads it.
struct Row {
    message: &'static str,
    field: &'static str,
    set: &'static str,
    read: &'static str,
    cli_set: &'static str,
    cli_read: &'static str,
}

const fn row(
    message: &'static str,
    field: &'static str,
    [set, read]: [&'static str; 2],
    [cli_set, cli_read]: [&'static str; 2],
) -> Row {
    Row {
        message,
        field,
        set,
        read,
        cli_set,
        cli_read,
    }
}

/// What has to do with the wire only.
const ENGINE: &str = "by the engine";
/// What the command does not offer, on purpose or so far.
const NOT_YET: &str = "not offered: use the library";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("Header", "stream_id",
        ["`id`, else a random UUID", "`info().id`"],
        ["a random UUID", "`--json`: `stream`"]),
    row("Header", "timestamp",
        ["`timestamp`, else now", "`info().timestamp`"],
        ["now", "not shown: the time of arrival is the event's own"]),
    row("Header", "topic",
        ["`TextOptions::new`, `ByteOptions::new`", "`info().topic`; streams are taken by it"],
        ["`--topic`", "`--topic`; `--json`: `topic`"]),
    row("Header", "mime_type",
        ["`mime_type`, else by the extension of a file, else that of the kind", "`info().mime_type`"],
        ["by the extension of a file, else that of the kind", "`--json`: `mime_type`"]),
    row("Header", "total_length",
        ["`total_length`; `send_*` set it themselves", "`info().total_length`"],
        ["files and `--text TEXT`: their length; standard input: none", "`--json`: `length`"]),
    row("Header", "encryption_type",
        ["deprecated: the packet around it says so; never written", "`info().encryption`, from the packet"],
        [NOT_YET, NOT_YET]),
    row("Header", "attributes",
        ["`attribute`", "`info().attributes`; with the trailer's: `attributes()`"],
        [NOT_YET, "`--json`: `attributes`"]),
    row("Header", "inline_content",
        ["`send_*`, where it fits and all recipients take it", "as any other content"],
        [ENGINE, ENGINE]),
    row("Header", "compression",
        ["`compress`", "inflated as it is read"],
        ["`--compress`", ENGINE]),
    row("Header", "content_header",
        ["`TextOptions` or `ByteOptions`", "`info().content`; `text_streams` or `byte_streams`"],
        ["`--text` or files", "`--json`: `kind`"]),
    row("TextHeader", "operation_type",
        ["`operation`", "`info().content`: `operation`"],
        [NOT_YET, NOT_YET]),
    row("TextHeader", "version",
        ["`version`", "`info().content`: `version`"],
        [NOT_YET, NOT_YET]),
    row("TextHeader", "reply_to_stream_id",
        ["`reply_to`", "`info().content`: `reply_to`"],
        [NOT_YET, NOT_YET]),
    row("TextHeader", "attached_stream_ids",
        ["`attach`, `attach_with`, `attach_bytes`; `attached` for the id alone", "`attachments()`"],
        [NOT_YET, "attached files arrive as files"]),
    row("TextHeader", "generated",
        ["`generated`", "`info().content`: `generated`"],
        [NOT_YET, NOT_YET]),
    row("ByteHeader", "name",
        ["`name`, else the file's own", "`name()`; as a path only by `write_to_dir`"],
        ["`--name`, else the file's own", "the file's name, made safe; `--json`: `name`, `path`"]),
    row("Chunk", "stream_id", [ENGINE, ENGINE], [ENGINE, ENGINE]),
    row("Chunk", "chunk_index", [ENGINE, "checked: what is missing fails the reader"], [ENGINE, ENGINE]),
    row("Chunk", "content",
        ["`write`, `send_text`, `send_bytes`, `send_file`", "`next`, `read_all`, `write_to_file`, `write_to_dir`"],
        ["files, `-`, `--text`", "`--out`; texts on standard output"]),
    row("Chunk", "version",
        ["never written: no SDK replaces chunks", "a chunk that came before is dropped, whatever its version"],
        [ENGINE, ENGINE]),
    row("Chunk", "iv",
        ["deprecated: the packet around it carries the vector; never written", "not read"],
        [ENGINE, ENGINE]),
    row("Trailer", "stream_id", [ENGINE, ENGINE], [ENGINE, ENGINE]),
    row("Trailer", "reason",
        ["`abort`; a dropped writer says so", "the error of the reader: `AbortedBySender`"],
        ["Ctrl-C", "`--json`: `reason`"]),
    row("Trailer", "attributes",
        ["`close_with`", "`attributes()`, once the stream has ended"],
        [NOT_YET, NOT_YET]),
];

/// The names of a message's fields, as its own `Debug` lists them.
fn fields<M: Default + Debug>() -> Vec<String> {
    format!("{:#?}", M::default())
        .lines()
        .filter_map(|line| line.strip_prefix("    ")?.split_once(':'))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn schema() -> Vec<(&'static str, String)> {
    let messages = [
        ("Header", fields::<Header>()),
        ("TextHeader", fields::<TextHeader>()),
        ("ByteHeader", fields::<ByteHeader>()),
        ("Chunk", fields::<Chunk>()),
        ("Trailer", fields::<Trailer>()),
    ];
    let each = |(message, fields): (&'static str, Vec<String>)| {
        fields.into_iter().map(move |field| (message, field))
    };
    messages.into_iter().flat_map(each).collect()
}

#[test]
fn every_field_of_the_schema_is_listed_once() {
    let schema: BTreeSet<(&str, String)> = schema().into_iter().collect();
    let listed: BTreeSet<(&str, String)> = ROWS
        .iter()
        .map(|row| (row.message, row.field.to_owned()))
        .collect();
    assert_eq!(listed, schema);
    assert_eq!(listed.len(), ROWS.len(), "a field is listed twice");
    assert_eq!(schema.len(), 24, "the way to read the schema has broken");
}

fn docs(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name)
}

/// What a cell has between backticks.
fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The command's own page knows every flag and every field of an event that the table names.
#[test]
fn the_command_has_what_the_table_says() {
    let page = fs::read_to_string(docs("cli.md")).unwrap();
    for row in ROWS {
        for cell in [row.cli_set, row.cli_read] {
            for name in code(cell) {
                let shown = page.contains(name) || page.contains(&format!("`{name}`"));
                assert!(shown, "{}.{}: {name}", row.message, row.field);
            }
        }
    }
}

/// The library has what the table says: this compiles. Every method named there is called here.
#[allow(dead_code)]
async fn setters_and_readers(
    text: TextReader,
    mut bytes: ByteReader,
    writer: TextWriter,
) -> Result<Sent, CloseError> {
    let byte_options = || {
        ByteOptions::new("topic")
            .id("id")
            .timestamp(SystemTime::UNIX_EPOCH)
            .mime_type("image/png")
            .total_length(1)
            .attribute("key", "value")
            .compress(Compress::Auto)
            .name("name")
    };
    let _ = byte_options();
    let _ = TextOptions::new("topic")
        .id("id")
        .timestamp(SystemTime::UNIX_EPOCH)
        .mime_type("text/markdown")
        .total_length(1)
        .attribute("key", "value")
        .compress(Compress::Auto)
        .operation(TextOperation::Update)
        .version(1)
        .reply_to("id")
        .attach("file")
        .attach_with("file", byte_options())
        .attach_bytes(&b"bytes"[..], byte_options())
        .attached("id")
        .generated();
    let StreamInfo {
        id: _,
        content,
        topic: _,
        mime_type: _,
        timestamp: _,
        total_length: _,
        attributes: _,
        sender: _,
        publisher: _,
        encryption: _,
    } = text.info().clone();
    match content {
        Content::Text {
            operation: _,
            version: _,
            reply_to: _,
            attachments: _,
            generated: _,
        } => {}
        Content::Bytes { name: _ } => {}
    }
    let _ = (text.attachments(), text.attributes());
    let _ = text.read_all(1).await;
    let _ = bytes.name();
    let _ = bytes.next().await;
    let _ = bytes.write_to_dir("folder").await;
    let _ = writer.write("text").await;
    writer.close_with(Attributes::new()).await
}

fn page() -> String {
    let mut page = String::from(
        "# The fields of a stream\n\n\
         Every field that streams have on the wire (the messages `Header`, `TextHeader`, `ByteHeader`, `Chunk` and `Trailer` of\n\
         `DataStream`), and how each binding sets and reads it. Made by `conformance/tests/fields.rs`, which fails when the schema\n\
         of livekit-protocol 0.8.2 has a field that is not listed here.\n\n\
         In Rust, options are methods of `TextOptions` and `ByteOptions`, and what is read are methods of the readers. Recipients\n\
         (`to`, `--to`) and a sender other than oneself (`sender_identity`) are fields of the packet around all of these.\n",
    );
    let mut message = "";
    for row in ROWS {
        if row.message != message {
            message = row.message;
            page.push_str(&format!(
                "\n## {message}\n\n\
                 | field | set in Rust | read in Rust | `lkstream send` | `lkstream recv` |\n|---|---|---|---|---|\n"
            ));
        }
        writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            row.field, row.set, row.read, row.cli_set, row.cli_read
        )
        .unwrap();
    }
    page
}

#[test]
fn the_page_is_up_to_date() {
    let path = docs("fields.md");
    if std::env::var_os("LKSTREAM_WRITE").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/fields.md is not what the table says; see the head of this file"
    );
}
