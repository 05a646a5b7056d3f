//! Chooses how a payload that is known as a whole is sent: inside its header, compressed, or in plain chunks
//! (protocol.md §5.4).

use bytes::Bytes;
use lkstream_proto::limits::{CHUNK_BYTES, HEADER_PACKET_BYTES};
use lkstream_proto::packet::{Compression, Trailer};

use super::Compress;
use super::compressibility::{may_shrink, sample_shrinks};
use super::deflate::Deflater;
use super::stream::Stream;
use crate::participants::Reach;

/// The deflater that waits for its next stream.
#[derive(Debug, Default)]
pub(crate) struct Deflaters {
    spare: Option<Box<Deflater>>,
}

impl Deflaters {
    fn take(&mut self) -> Box<Deflater> {
        self.spare
            .take()
            .unwrap_or_else(|| Box::new(Deflater::new()))
    }

    pub(super) fn give(&mut self, mut deflater: Box<Deflater>) {
        deflater.reset();
        self.spare = Some(deflater);
    }
}

impl Stream {
    /// Takes the whole payload and ends the stream: all of it is queued.
    pub(crate) fn load(
        &mut self,
        payload: Bytes,
        compress: Compress,
        reach: Reach,
        deflaters: Option<&mut Deflaters>,
    ) {
        self.written = payload.len() as u64;
        self.queued = payload.len();
        let is_loaded = match deflaters {
            Some(deflaters) if reach.deflate && wants(compress, &self.info.mime_type, &payload) => {
                self.load_deflated(&payload, compress, reach, deflaters)
            }
            _ => false,
        };
        if !is_loaded && reach.inline && self.fits_inline(&payload) {
            self.put_inline(payload, Compression::None);
        } else if !is_loaded && !payload.is_empty() {
            self.queue.push_back(payload);
        }
        self.close_whole();
    }

    /// Has what is written from now on compressed, if the payload's first bytes promise well.
    pub(crate) fn compress_from(
        &mut self,
        start: &[u8],
        compress: Compress,
        reach: Reach,
        deflaters: &mut Deflaters,
    ) {
        if !reach.deflate || !wants(compress, &self.info.mime_type, start) {
            return;
        }
        let mut deflater = deflaters.take();
        if compress == Compress::Always || sample_shrinks(start, &mut deflater) {
            self.set_deflated(deflater);
        } else {
            deflaters.give(deflater);
        }
    }

    /// Says whether it took the payload.
    fn load_deflated(
        &mut self,
        payload: &Bytes,
        compress: Compress,
        reach: Reach,
        deflaters: &mut Deflaters,
    ) -> bool {
        let mut deflater = deflaters.take();
        // A payload that is not much larger than a chunk is its own sample.
        let is_small = payload.len() <= CHUNK_BYTES / 7 * 8;
        if compress == Compress::Auto && !is_small && !sample_shrinks(payload, &mut deflater) {
            deflaters.give(deflater);
            return false;
        }
        self.queue.push_back(payload.clone());
        match deflater.start(&mut self.queue) {
            Ok(Some(content)) if content.len() < payload.len() => {
                if reach.inline && self.fits_inline(content) {
                    let content = Bytes::copy_from_slice(content);
                    self.put_inline(content, Compression::DeflateRaw);
                    deflaters.give(deflater);
                } else {
                    self.set_deflated(deflater);
                }
                true
            }
            Ok(None) if compress == Compress::Always || !is_small => {
                self.set_deflated(deflater);
                true
            }
            _ => {
                self.queue.clear();
                deflaters.give(deflater);
                false
            }
        }
    }

    fn set_deflated(&mut self, deflater: Box<Deflater>) {
        if let Some(opening) = &mut self.opening {
            opening.compression = Compression::DeflateRaw;
            self.deflater = Some(deflater);
        }
    }

    /// Whether the header's packet stays small enough with this content in it.
    fn fits_inline(&self, content: &[u8]) -> bool {
        self.opening.as_ref().is_some_and(|opening| {
            self.header_size_with(opening, Some(content)) <= HEADER_PACKET_BYTES
        })
    }

    fn put_inline(&mut self, content: Bytes, compression: Compression) {
        if let Some(opening) = &mut self.opening {
            opening.inline = Some(content);
            opening.compression = compression;
        }
    }

    fn close_whole(&mut self) {
        let is_inline = self
            .opening
            .as_ref()
            .is_some_and(|opening| opening.inline.is_some());
        if is_inline {
            self.end_inline();
        } else {
            self.end(Trailer {
                stream_id: self.info.id.as_str().to_owned(),
                ..Trailer::default()
            });
        }
    }
}

/// Whether compressing is to be tried.
fn wants(compress: Compress, mime_type: &str, start: &[u8]) -> bool {
    match compress {
        Compress::Auto => may_shrink(mime_type, start),
        Compress::Always => !start.is_empty(),
        Compress::Never => false,
    }
}
