use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::Wake,
};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Count {
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn read(end: &mut MemoryStream, count: usize, waker: &Arc<Count>) -> Poll<Vec<u8>> {
    let waker = Waker::from(waker.clone());
    let mut bytes = vec![0; count];
    let mut buffer = ReadBuf::new(&mut bytes);
    let polled = Pin::new(end).poll_read(&mut Context::from_waker(&waker), &mut buffer);
    polled.map(|result| {
        result.expect("reading never fails");
        buffer.filled().to_vec()
    })
}

fn write(end: &mut MemoryStream, parts: &[&[u8]], waker: &Arc<Count>) -> Poll<Result<usize, io::ErrorKind>> {
    let waker = Waker::from(waker.clone());
    let cx = &mut Context::from_waker(&waker);
    let polled = match parts {
        [one] => Pin::new(end).poll_write(cx, one),
        many => {
            let slices: Vec<_> = many.iter().map(|part| IoSlice::new(part)).collect();
            Pin::new(end).poll_write_vectored(cx, &slices)
        }
    };
    polled.map_err(|error| error.kind())
}

fn shut(end: &mut MemoryStream) {
    let polled = Pin::new(end).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(()))));
}

#[test]
fn an_idle_pair_is_small() {
    // The counts of the shared state's `Arc` are two words more.
    let shared = size_of::<Mutex<Pipe>>() + 2 * size_of::<usize>();
    assert!(shared <= 96, "{shared}");
    assert_eq!(size_of::<MemoryStream>(), 16);
}

#[test]
fn buffers_are_bounded_and_go_when_empty() {
    let waker = Arc::default();
    let (mut one, mut other) = pair(1000);
    for size in [0, 1, 500, 600] {
        let _ = write(&mut one, &[&vec![7; size]], &waker);
    }
    let held_bytes = |end: &MemoryStream| {
        let pipe = end.pipe.lock();
        pipe.directions[0].held.as_ref().map(|held| (held.bytes.len(), held.bytes.capacity()))
    };
    assert_eq!(held_bytes(&one), Some((1000, 1000)));
    assert_eq!(read(&mut other, 999, &waker).map(|bytes| bytes.len()), Poll::Ready(999));
    assert!(held_bytes(&one).is_some());
    assert_eq!(read(&mut other, 999, &waker).map(|bytes| bytes.len()), Poll::Ready(1));
    assert_eq!(held_bytes(&one), None);
}

#[test]
fn whoever_waits_is_woken_once() {
    let (reader, writer) = (Arc::<Count>::default(), Arc::<Count>::default());
    let (mut one, mut other) = pair(4);
    assert_eq!(read(&mut other, 8, &reader), Poll::Pending);
    assert_eq!(write(&mut one, &[b"ab", b"cdef"], &writer), Poll::Ready(Ok(4)));
    assert_eq!((reader.take(), writer.take()), (1, 0));
    assert_eq!(write(&mut one, &[b"ef"], &writer), Poll::Pending);
    assert_eq!(read(&mut other, 1, &reader), Poll::Ready(b"a".to_vec()));
    assert_eq!((reader.take(), writer.take()), (0, 1));
    assert_eq!(write(&mut one, &[b"ef"], &writer), Poll::Ready(Ok(1)));
    assert_eq!(read(&mut other, 8, &reader), Poll::Ready(b"bcde".to_vec()));
    assert_eq!((reader.take(), writer.take()), (0, 0));
}

#[test]
fn the_last_waker_counts() {
    let (first, second) = (Arc::<Count>::default(), Arc::<Count>::default());
    let (mut one, mut other) = pair(4);
    assert_eq!(read(&mut other, 8, &first), Poll::Pending);
    assert_eq!(read(&mut other, 8, &second), Poll::Pending);
    assert_eq!(write(&mut one, &[b"a"], &first), Poll::Ready(Ok(1)));
    assert_eq!((first.take(), second.take()), (0, 1));
}

#[test]
fn shutting_down_ends_one_direction() {
    let waker = Arc::<Count>::default();
    let (mut one, mut other) = pair(4);
    assert_eq!(write(&mut one, &[b"ab"], &waker), Poll::Ready(Ok(2)));
    assert_eq!(read(&mut one, 1, &waker), Poll::Pending);
    shut(&mut one);
    assert_eq!(write(&mut one, &[b"c"], &waker), Poll::Ready(Err(io::ErrorKind::BrokenPipe)));
    assert_eq!(read(&mut other, 8, &waker), Poll::Ready(b"ab".to_vec()));
    assert_eq!(read(&mut other, 8, &waker), Poll::Ready(vec![]));
    assert_eq!(waker.take(), 0);
    assert_eq!(write(&mut other, &[b"de"], &waker), Poll::Ready(Ok(2)));
    assert_eq!((waker.take(), read(&mut one, 8, &waker)), (1, Poll::Ready(b"de".to_vec())));
}

#[test]
fn dropping_wakes_both_who_read_and_who_write() {
    let (reader, writer) = (Arc::<Count>::default(), Arc::<Count>::default());
    let (mut one, mut other) = pair(2);
    assert_eq!(write(&mut other, &[b"zz"], &writer), Poll::Ready(Ok(2)));
    assert_eq!(write(&mut other, &[b"z"], &writer), Poll::Pending);
    assert_eq!(read(&mut other, 8, &reader), Poll::Pending);
    assert_eq!(write(&mut one, &[b"a"], &writer), Poll::Ready(Ok(1)));
    assert_eq!((reader.take(), writer.take()), (1, 0));
    drop(one);
    assert_eq!((reader.take(), writer.take()), (0, 1));
    assert_eq!(write(&mut other, &[b"z"], &writer), Poll::Ready(Err(io::ErrorKind::BrokenPipe)));
    assert_eq!(read(&mut other, 8, &reader), Poll::Ready(b"a".to_vec()));
    assert_eq!(read(&mut other, 8, &reader), Poll::Ready(vec![]));
    let (one, mut other) = pair(2);
    assert_eq!(read(&mut other, 8, &reader), Poll::Pending);
    drop(one);
    assert_eq!(reader.take(), 1);
}

#[test]
fn an_end_that_is_gone_keeps_no_waker() {
    let (waker, mut other) = (Arc::<Count>::default(), None);
    for full in [false, true] {
        let (mut one, rest) = pair(1);
        other = Some(rest);
        assert_eq!(read(&mut one, 1, &waker), Poll::Pending);
        if full {
            assert_eq!(write(&mut one, &[b"a"], &waker), Poll::Ready(Ok(1)));
            assert_eq!(write(&mut one, &[b"a"], &waker), Poll::Pending);
        }
        drop(one);
        assert_eq!(Arc::strong_count(&waker), 1);
    }
    assert!(other.is_some());
}

/// A task that is dropped with its last waker drops its end of the pipe in the middle of the other end's call.
#[test]
fn an_end_may_live_in_its_own_waker() {
    struct Owner(Mutex<Option<MemoryStream>>);
    impl Wake for Owner {
        fn wake(self: Arc<Self>) {}
    }
    let (mut one, other) = pair(1);
    let owner = Arc::new(Owner(Mutex::new(None)));
    let waker = Waker::from(owner.clone());
    let mut byte = [0];
    assert!(Pin::new(&mut one).poll_read(&mut Context::from_waker(&waker), &mut ReadBuf::new(&mut byte)).is_pending());
    *owner.0.lock() = Some(other);
    drop((owner, waker));
    assert_eq!(read(&mut one, 1, &Arc::default()), Poll::Pending, "the former waker goes, and with it the other end");
    assert_eq!(read(&mut one, 1, &Arc::default()), Poll::Ready(vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threads_pass_much_through_a_small_buffer() {
    const BYTES: usize = 1 << 20;
    let (mut one, mut other) = pair(777);
    let writer = tokio::spawn(async move {
        let bytes: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
        one.write_all(&bytes).await.unwrap();
        one.shutdown().await.unwrap();
        let mut answer = Vec::new();
        one.read_to_end(&mut answer).await.unwrap();
        answer
    });
    let mut bytes = Vec::new();
    other.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes.len(), BYTES);
    assert!(bytes.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
    other.write_all(&bytes).await.unwrap();
    drop(other);
    assert!(writer.await.unwrap() == bytes);
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, Vec<Vec<u8>>),
    Read(usize, usize),
    Shut(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let parts = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..4);
    prop_oneof![
        8 => (0..2usize, parts).prop_map(|(side, parts)| Step::Write(side, parts)),
        8 => (0..2usize, 0..80usize).prop_map(|(side, count)| Step::Read(side, count)),
        1 => (0..2usize).prop_map(Step::Shut),
    ]
}

proptest! {
    /// Against a queue for each direction: which bytes come, when an operation waits, and who is woken.
    #[test]
    fn agrees_with_two_queues(bytes_max in 0u32..100, steps in prop::collection::vec(step(), 1..200)) {
        let (one, other) = pair(bytes_max);
        let bytes_max = bytes_max.max(1) as usize;
        let mut ends = [one, other];
        let mut queues = [VecDeque::new(), VecDeque::new()];
        let mut ended = [false; 2];
        // By the direction that is read or written.
        let (readers, writers): ([Arc<Count>; 2], [Arc<Count>; 2]) = Default::default();
        let (mut reading, mut writing) = ([false; 2], [false; 2]);
        for step in steps {
            match step {
                Step::Write(side, parts) => {
                    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                    let all = parts.concat();
                    let room = bytes_max - queues[side].len();
                    let polled = write(&mut ends[side], &parts, &writers[side]);
                    if ended[side] {
                        prop_assert_eq!(polled, Poll::Ready(Err(io::ErrorKind::BrokenPipe)));
                    } else if room == 0 && !all.is_empty() {
                        prop_assert_eq!(polled, Poll::Pending);
                        writing[side] = true;
                    } else {
                        let count = all.len().min(room);
                        prop_assert_eq!(polled, Poll::Ready(Ok(count)));
                        queues[side].extend(&all[..count]);
                        let woken = count > 0 && std::mem::take(&mut reading[side]);
                        prop_assert_eq!(readers[side].take(), usize::from(woken));
                    }
                }
                Step::Read(side, count) => {
                    let from = 1 - side;
                    let polled = read(&mut ends[side], count, &readers[from]);
                    if count > 0 && queues[from].is_empty() && !ended[from] {
                        prop_assert_eq!(polled, Poll::Pending);
                        reading[from] = true;
                    } else {
                        let count = count.min(queues[from].len());
                        let bytes: Vec<u8> = queues[from].drain(..count).collect();
                        prop_assert_eq!(polled, Poll::Ready(bytes));
                        let woken = count > 0 && std::mem::take(&mut writing[from]);
                        prop_assert_eq!(writers[from].take(), usize::from(woken));
                    }
                }
                Step::Shut(side) => {
                    shut(&mut ends[side]);
                    ended[side] = true;
                    let woken = std::mem::take(&mut reading[side]);
                    prop_assert_eq!(readers[side].take(), usize::from(woken));
                }
            }
            for (side, queue) in queues.iter().enumerate() {
                let held = ends[0].pipe.lock().directions[side].held.as_ref().map_or(0, |held| held.bytes.len());
                prop_assert_eq!(held, queue.len());
            }
        }
    }
}
