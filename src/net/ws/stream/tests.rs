use std::collections::VecDeque;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;

fn server(inner: DuplexStream) -> Ws<DuplexStream> {
    Ws::server(inner, Vec::new(), 1 << 20)
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = [0; HEADER_BYTES_MAX];
    let mut mask = Mask::random();
    let length = Header::write(&mut header, Opcode::Binary, payload.len() as u64, Some(mask));
    header[0] = first;
    let mut payload = payload.to_vec();
    mask.apply(&mut payload);
    [&header[..length], &payload].concat()
}

#[test]
fn an_idle_websocket_is_small() {
    assert!(size_of::<Ws<()>>() <= 64, "{}", size_of::<Ws<()>>());
}

#[tokio::test]
async fn splits_and_joins() {
    let (mut raw, inner) = tokio::io::duplex(1 << 16);
    let mut ws = server(inner);
    let bytes = [frame(0x02, b"ab"), frame(0x00, b""), frame(0x80, b"c"), frame(0x82, b"def")].concat();
    raw.write_all(&bytes).await.unwrap();
    let mut out = [0; 6];
    ws.read_exact(&mut out).await.unwrap();
    assert_eq!(&out, b"abcdef");
    assert!(ws.rare.is_none());
}

#[tokio::test]
async fn what_came_with_the_upgrade_is_not_lost() {
    let (mut raw, inner) = tokio::io::duplex(1 << 16);
    let whole = frame(0x82, b"early");
    let mut ws = Ws::server(inner, whole[..4].to_vec(), 100);
    raw.write_all(&whole[4..]).await.unwrap();
    let mut out = [0; 5];
    ws.read_exact(&mut out).await.unwrap();
    assert_eq!(&out, b"early");
    assert!(ws.rare.is_none());
}

#[tokio::test]
async fn one_frame_for_a_vectored_write() {
    let (mut raw, inner) = tokio::io::duplex(1 << 16);
    let mut ws = server(inner);
    // The duplex pipe is not vectored: the header goes first, then each slice.
    let slices = [IoSlice::new(b"ab"), IoSlice::new(b"cde")];
    let mut written = ws.write_vectored(&slices).await.unwrap();
    while written < 5 {
        written += ws.write(&b"abcde"[written..]).await.unwrap();
    }
    let mut out = [0; 7];
    raw.read_exact(&mut out).await.unwrap();
    assert_eq!(&out, b"\x82\x05abcde");
}

#[tokio::test]
async fn ping_gets_pong_between_frames() {
    let (mut raw, inner) = tokio::io::duplex(1 << 16);
    let mut ws = server(inner);
    raw.write_all(&[frame(0x02, b"a"), frame(0x89, b"hi"), frame(0x80, b"b"), frame(0x8a, b"unasked")].concat())
        .await
        .unwrap();
    let mut out = [0; 2];
    ws.read_exact(&mut out).await.unwrap();
    assert_eq!(&out, b"ab");
    let mut pong = [0; 4];
    raw.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\x8a\x02hi");
}

#[tokio::test]
async fn close_is_answered_and_ends_reading() {
    let (mut raw, inner) = tokio::io::duplex(1 << 16);
    let mut ws = server(inner);
    raw.write_all(&[frame(0x82, b"x"), frame(0x88, &[0x03, 0xe8, b'b', b'y', b'e'])].concat()).await.unwrap();
    let mut out = Vec::new();
    ws.read_to_end(&mut out).await.unwrap();
    assert_eq!(out, b"x");
    let mut close = [0; 4];
    raw.read_exact(&mut close).await.unwrap();
    assert_eq!(&close, b"\x88\x02\x03\xe8");
    assert_eq!(ws.write(b"late").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn shutdown_says_goodbye() {
    let (mut raw, inner) = tokio::io::duplex(1 << 16);
    let mut ws = server(inner);
    ws.shutdown().await.unwrap();
    let mut out = Vec::new();
    raw.read_to_end(&mut out).await.unwrap();
    assert_eq!(out, b"\x88\x02\x03\xe8");
}

#[tokio::test]
async fn faults_close_with_their_code() {
    let oversized = frame(0x82, &vec![0; 300]);
    let cases: [(Vec<u8>, WsFault, u16); 8] = [
        (frame(0x81, b"text"), WsFault::TextFrame, 1003),
        (b"\x82\x01x".to_vec(), WsFault::Unmasked, 1002),
        (frame(0x80, b"x"), WsFault::UnexpectedContinuation, 1002),
        ([frame(0x02, b"x"), frame(0x82, b"y")].concat(), WsFault::UnfinishedMessage, 1002),
        (frame(0x09, b"x"), WsFault::FragmentedControl, 1002),
        (frame(0x88, b"x"), WsFault::BadClose, 1002),
        (frame(0x88, &[0x03, 0xed]), WsFault::BadClose, 1002),
        (oversized, WsFault::FrameTooLong(300), 1009),
    ];
    for (bytes, fault, code) in cases {
        let (mut raw, inner) = tokio::io::duplex(1 << 16);
        let mut ws = Ws::server(inner, Vec::new(), 256);
        raw.write_all(&bytes).await.unwrap();
        let error = ws.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(&fault));
        drop(ws);
        let mut answer = Vec::new();
        raw.read_to_end(&mut answer).await.unwrap();
        let [high, low] = code.to_be_bytes();
        assert_eq!(answer, [0x88, 2, high, low], "{fault}");
    }
}

/// An inner transport that takes and gives a few bytes at a time, as the script says; 0 is "not now".
struct Stutter {
    incoming: VecDeque<u8>,
    outgoing: Vec<u8>,
    script: VecDeque<u8>,
}

impl Stutter {
    fn next(&mut self, cx: &Context<'_>) -> Option<usize> {
        match self.script.pop_front() {
            None => Some(usize::MAX),
            Some(0) => {
                cx.waker().wake_by_ref();
                None
            }
            Some(count) => Some(count.into()),
        }
    }
}

impl AsyncRead for Stutter {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(count) = self.next(cx) else { return Poll::Pending };
        let count = count.min(self.incoming.len()).min(buf.remaining());
        for byte in self.incoming.drain(..count) {
            buf.put_slice(&[byte]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stutter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Some(count) = self.next(cx) else { return Poll::Pending };
        let count = count.min(buf.len());
        self.outgoing.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(limit) = self.next(cx) else { return Poll::Pending };
        let mut count = 0;
        for buf in bufs {
            let part = &buf[..buf.len().min(limit - count)];
            self.outgoing.extend_from_slice(part);
            count += part.len();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn on_a_runtime<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    /// However the frames, the pings in between and the socket's reads are cut, the payload comes out whole.
    #[test]
    fn reading_is_independent_of_cuts(
        parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), any::<bool>()), 1..12),
        script in prop::collection::vec(0u8..9, 0..400),
        room in 1usize..70,
    ) {
        let last = parts.len() - 1;
        let mut bytes = Vec::new();
        for (index, (payload, ping)) in parts.iter().enumerate() {
            let first = if index == 0 { 0x02 } else { 0x00 } | if index == last { 0x80 } else { 0 };
            bytes.extend(frame(first, payload));
            if *ping {
                bytes.extend(frame(0x89, b"now"));
            }
        }
        bytes.extend(frame(0x88, &[]));
        let expected: Vec<u8> = parts.iter().flat_map(|(payload, _)| payload.clone()).collect();
        let inner = Stutter { incoming: bytes.into(), outgoing: Vec::new(), script: script.into() };
        let mut ws = Ws::server(inner, Vec::new(), 1 << 20);
        let out = on_a_runtime(async {
            let (mut out, mut buffer) = (Vec::new(), vec![0; room]);
            loop {
                match ws.read(&mut buffer).await.unwrap() {
                    0 => return out,
                    count => out.extend_from_slice(&buffer[..count]),
                }
            }
        });
        prop_assert_eq!(out, expected);
        prop_assert!(ws.read_closed);
    }

    /// What one role writes through a stuttering socket, the other reads.
    #[test]
    fn writing_survives_partial_writes(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..10),
        script in prop::collection::vec(0u8..12, 0..300),
        role in prop::sample::select(vec![Role::Server, Role::Client]),
        pings in prop::collection::vec(any::<bool>(), 10),
    ) {
        let inner = Stutter { incoming: VecDeque::new(), outgoing: Vec::new(), script: script.into() };
        let mut writer = Ws::new(inner, role, Vec::new(), 1 << 20);
        on_a_runtime(async {
            for (part, ping) in parts.iter().zip(&pings) {
                if *ping {
                    writer.control(Opcode::Ping).unwrap();
                }
                let middle = part.len() / 2;
                let mut done = 0;
                while done < part.len() {
                    let (head, tail) = part.split_at(middle.max(done));
                    let head = &head[done.min(head.len())..];
                    done += writer.write_vectored(&[IoSlice::new(head), IoSlice::new(tail)]).await.unwrap();
                }
            }
            writer.shutdown().await.unwrap();
        });
        let other = if role == Role::Server { Role::Client } else { Role::Server };
        let incoming = std::mem::take(&mut writer.inner.outgoing).into();
        let mut reader =
            Ws::new(Stutter { incoming, outgoing: Vec::new(), script: VecDeque::new() }, other, Vec::new(), 1 << 20);
        let mut out = Vec::new();
        on_a_runtime(reader.read_to_end(&mut out)).unwrap();
        prop_assert_eq!(out, parts.concat());
        prop_assert!(reader.read_closed);
    }

    /// Any bytes end in data, an error or the end; nothing panics and nothing is kept beyond a control frame.
    #[test]
    fn garbage_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let inner = Stutter { incoming: bytes.into(), outgoing: Vec::new(), script: VecDeque::new() };
        let mut ws = Ws::server(inner, Vec::new(), 1 << 20);
        let _ = on_a_runtime(ws.read_to_end(&mut Vec::new()));
        prop_assert!(ws.rare.as_ref().is_none_or(|rare| rare.control.len() <= 125));
    }
}
