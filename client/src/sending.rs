//! Sends payloads that are known as a whole: texts, bytes, files, and texts with attachments.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use lkstream_engine::Attributes;
use lkstream_proto::id::StreamId;

use crate::files::{Blocks, Source, Start};
use crate::options::{Attachment, AttachmentSource};
use crate::writer::Outgoing;
use crate::{ByteOptions, Payload, Room, SendError, Sent, TextOptions};

/// Something attached whose stream is announced and not sent yet.
struct Announced {
    options: ByteOptions,
    payload: Attached,
}

enum Attached {
    File(PathBuf, Source),
    Bytes(Payload),
}

impl Room {
    /// Sends a text, with what is [attached](TextOptions::attach) to it, and waits until all of it was acknowledged
    /// by the server's transport.
    ///
    /// Where all recipients can take it, a short text is a single packet and a longer one is compressed
    /// ([`TextOptions::compress`]). Attachments follow the text one after the other, each under an id that the text
    /// names; [`Sent::attachments`] tells about them.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future gives up what was not handed to the transport yet, which the receivers
    /// see as an aborted stream.
    ///
    /// # Errors
    /// [`SendError`]; an unreadable attachment is found before anything is sent.
    pub async fn send_text(
        &self,
        text: impl Into<String>,
        options: TextOptions,
    ) -> Result<Sent, SendError> {
        let text = Bytes::from(text.into());
        let mut options = options;
        let announced = announce(&mut options).await?;
        let mut sent = Outgoing::send_text(self.shared().clone(), options, text)?
            .finished()
            .await?;
        for Announced { options, payload } in announced {
            let attachment = match payload {
                Attached::File(path, source) => self.send_source(&path, source, options).await?,
                Attached::Bytes(bytes) => self.send_bytes(bytes, options).await?,
            };
            sent.attachments.push(attachment);
        }
        Ok(sent)
    }

    /// Sends bytes and waits until all of them were acknowledged by the server's transport.
    ///
    /// Where all recipients can take it, few bytes are a single packet and more are compressed
    /// ([`ByteOptions::compress`]).
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future gives up what was not handed to the transport yet, which the receivers
    /// see as an aborted stream.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send_bytes(
        &self,
        bytes: impl Into<Payload>,
        options: ByteOptions,
    ) -> Result<Sent, SendError> {
        let bytes = bytes.into().lent(&self.shared().released);
        let outgoing = Outgoing::send_bytes(self.shared().clone(), options, bytes)?;
        Ok(outgoing.finished().await?)
    }

    /// Sends a regular file under its own name and waits until all of it was acknowledged by the server's transport.
    ///
    /// A file of less than 240 kB is read first and sent like [`send_bytes`](Self::send_bytes). Of a longer one the
    /// length in its metadata is announced; a file that turns out shorter or longer, or is written to meanwhile, is an
    /// error, and the receivers see an aborted stream. Where the metadata says less than that first block has, as for
    /// files of `/proc`, no length is announced. [`ByteOptions::total_length`] has no effect here. To send a file that
    /// somebody is writing, use [`stream_bytes`](Self::stream_bytes).
    ///
    /// Two blocks of 240 kB are in memory at a time. Reading happens on tokio's blocking threads. Where all recipients
    /// can inflate, a file whose first bytes shrink is compressed ([`ByteOptions::compress`]).
    ///
    /// Unless the options say otherwise, the MIME type is the one that the name's extension stands for.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future aborts the stream, unless all of it was queued already.
    ///
    /// # Errors
    /// [`SendError`]; an unreadable file is found before anything is sent.
    pub async fn send_file(
        &self,
        path: impl AsRef<Path>,
        options: ByteOptions,
    ) -> Result<Sent, SendError> {
        let path = path.as_ref();
        let source = open(path).await?;
        self.send_source(path, source, options).await
    }

    async fn send_source(
        &self,
        path: &Path,
        source: Source,
        mut options: ByteOptions,
    ) -> Result<Sent, SendError> {
        if options.name.is_none() {
            options.name = source.name();
        }
        if options.common.mime_type.is_none()
            && let Some(name) = &options.name
        {
            let guessed = mime_guess::from_path(name).first_raw();
            options.common.mime_type = guessed.map(str::to_owned);
        }
        match blocking(path, move || source.start()).await? {
            Start::Whole(content) => {
                // What the file is counts, not what was expected of it.
                options.common.total_length = None;
                self.send_bytes(content, options).await
            }
            Start::Blocks(first, blocks) => {
                options.common.total_length = blocks.length();
                self.send_blocks(path, first, blocks, options).await
            }
        }
    }

    async fn send_blocks(
        &self,
        path: &Path,
        first: Bytes,
        blocks: Blocks,
        options: ByteOptions,
    ) -> Result<Sent, SendError> {
        let outgoing = Outgoing::open_file(self.shared().clone(), options, &first)?;
        match copy(path, first, blocks, &outgoing).await {
            Ok(()) => Ok(outgoing.close(Attributes::new()).await?),
            Err(error) => {
                let reason = match &error {
                    SendError::FileChanged { .. } | SendError::FileModified { .. } => {
                        "the file changed while it was sent"
                    }
                    _ => "the file could not be read to its end",
                };
                outgoing.abort(reason, Attributes::new());
                Err(error)
            }
        }
    }
}

/// Opens what is attached, gives each its id and has the text name them.
async fn announce(options: &mut TextOptions) -> Result<Vec<Announced>, SendError> {
    let mut announced = Vec::new();
    for Attachment {
        source,
        options: own,
    } in std::mem::take(&mut options.attachments)
    {
        let payload = match source {
            AttachmentSource::Bytes(bytes) => Attached::Bytes(bytes),
            AttachmentSource::File(path) => {
                let source = open(&path).await?;
                Attached::File(path, source)
            }
        };
        let mut own = own.unwrap_or_else(|| {
            let mut own = ByteOptions::new(options.common.topic.clone());
            own.common.confirmed = options.common.confirmed;
            own.common.compress = options.common.compress;
            own
        });
        own.common.destinations = options.common.destinations.clone();
        let id = own
            .common
            .id
            .get_or_insert_with(|| StreamId::generate(rand::random()));
        options.attached.push(id.clone());
        announced.push(Announced {
            options: own,
            payload,
        });
    }
    Ok(announced)
}

async fn open(path: &Path) -> Result<Source, SendError> {
    let owned = path.to_owned();
    blocking(path, move || Source::open(&owned)).await
}

/// Writes the file's blocks from this one on, reading one ahead.
async fn copy(
    path: &Path,
    first: Bytes,
    mut blocks: Blocks,
    outgoing: &Outgoing,
) -> Result<(), SendError> {
    let mut block = Some(first);
    while let Some(written) = block.take() {
        let ahead = {
            let mut blocks = blocks;
            tokio::task::spawn_blocking(move || blocks.next().map(|block| (blocks, block)))
        };
        outgoing.write(written).await?;
        (blocks, block) = ahead.await.map_err(|_| thread_ended(path))??;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, SendError> + Send + 'static,
) -> Result<T, SendError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(_) => Err(thread_ended(path)),
    }
}

fn thread_ended(path: &Path) -> SendError {
    SendError::File {
        path: path.to_owned(),
        cause: std::io::Error::other("the blocking thread ended").into(),
    }
}
