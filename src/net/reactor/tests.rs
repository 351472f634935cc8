use std::{
    future::poll_fn,
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::atomic::AtomicUsize,
    task::Poll,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
};

use super::*;
use crate::net::{
    Cores,
    listener::tests::{cores, eventually},
};

/// The client's end, which waits at most so long that a test fails instead of hanging, and the gateway's.
fn connected() -> (UnixStream, Socket) {
    let (client, server) = UnixStream::pair().expect("sockets");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
    (client, Socket::new(server))
}

async fn echo(mut socket: Socket, count_max: usize) -> Socket {
    let mut buffer = vec![0; 4096];
    let mut echoed = 0;
    while echoed < count_max {
        let room = buffer.len().min(count_max - echoed);
        match socket.read(&mut buffer[..room]).await {
            Ok(count) if count > 0 => {
                socket.write_all(&buffer[..count]).await.expect("written");
                echoed += count;
            }
            _ => break,
        }
    }
    socket
}

fn exchange(client: &mut UnixStream, bytes: &[u8]) {
    client.write_all(bytes).expect("written");
    let mut answer = vec![0; bytes.len()];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, bytes);
}

#[test]
fn a_socket_wakes_its_task_for_input_for_room_and_at_the_end() {
    let cores = cores(1);
    let (mut client, socket) = connected();
    let (sender, ended) = oneshot::channel();
    cores.serve_on(0, async move {
        drop(echo(socket, usize::MAX).await);
        let _ = sender.send(()); // The test may have failed.
    });
    for round in 0..100u8 {
        exchange(&mut client, &[round; 10]);
    }
    // More than the sockets' buffers hold: the task must be told when there is room again.
    let bytes: Vec<u8> = (0..4_000_000u32).map(|n| n as u8).collect();
    let mut reader = client.try_clone().expect("a descriptor");
    std::thread::scope(|scope| {
        scope.spawn(|| client.write_all(&bytes).expect("written"));
        let mut answer = vec![0; bytes.len()];
        reader.read_exact(&mut answer).expect("an answer");
        assert!(answer == bytes);
    });
    client.shutdown(std::net::Shutdown::Both).expect("shut down");
    ended.blocking_recv().expect("the end was told");
    cores.stop();
}

#[test]
fn the_end_is_told_that_came_with_the_last_bytes() {
    let cores = cores(1);
    let (mut client, mut socket) = connected();
    client.write_all(b"last").expect("written");
    drop(client);
    let (sender, ended) = oneshot::channel();
    cores.serve_on(0, async move {
        let mut bytes = Vec::new();
        let read = socket.read_to_end(&mut bytes).await;
        let _ = sender.send((read.is_ok(), bytes));
    });
    assert_eq!(ended.blocking_recv().expect("told"), (true, b"last".to_vec()));
    cores.stop();
}

#[test]
fn a_socket_goes_from_task_to_task_and_from_core_to_core() {
    let cores = cores(3);
    let (mut client, socket) = connected();
    /// Echoes ten bytes in each of the tasks that are left.
    fn next(cores: Cores, socket: Socket, left: usize) {
        let core = left;
        let on = cores.clone();
        cores.serve_on(core, async move {
            let socket = echo(socket, 10).await;
            if left > 0 {
                next(on, socket, left - 1);
            }
        });
    }
    next(cores.clone(), socket, 30);
    for round in 0..31u8 {
        exchange(&mut client, &[round; 10]);
    }
    assert_eq!(client.read(&mut [0]).expect("the end"), 0);
    cores.stop();
}

#[test]
fn wake_ups_come_from_any_thread_and_none_is_lost() {
    const WAKES: usize = 20_000;
    let cores = cores(2);
    let polled = Arc::new(AtomicUsize::new(0));
    let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
    let (seen, place) = (polled.clone(), waker.clone());
    let wanted = Arc::new(AtomicUsize::new(0));
    let goal = wanted.clone();
    cores.serve_on(
        1,
        poll_fn(move |cx| {
            *place.lock() = Some(cx.waker().clone());
            seen.store(goal.load(Ordering::SeqCst), Ordering::SeqCst);
            Poll::Pending
        }),
    );
    let taken = || waker.lock().clone();
    while taken().is_none() {
        std::thread::yield_now();
    }
    let waker = taken().expect("there");
    for count in 1..=WAKES {
        wanted.store(count, Ordering::SeqCst);
        waker.wake_by_ref();
        // Each is waited for, so that the core goes to sleep between them, or is about to.
        let begun = std::time::Instant::now();
        while polled.load(Ordering::SeqCst) != count {
            std::hint::spin_loop();
            assert!(begun.elapsed() < Duration::from_secs(30), "wake-up {count} was lost");
        }
    }
    cores.stop();
    // Nobody is there any more.
    waker.wake();
}

#[tokio::test]
async fn a_panic_takes_no_other_task_with_it() {
    let cores = cores(1);
    let (mut client, socket) = connected();
    struct Guard(Arc<AtomicUsize>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let guard = Guard(dropped.clone());
    cores.serve_on(0, async move {
        let _guard = guard;
        panic!("on purpose");
    });
    let guard = Guard(dropped.clone());
    cores.serve_on(0, async move {
        let _guard = guard;
        drop(echo(socket, usize::MAX).await);
    });
    let client = tokio::task::spawn_blocking(move || {
        exchange(&mut client, b"still here");
        client
    });
    let _client = client.await.expect("answered");
    eventually(|| dropped.load(Ordering::SeqCst) == 1).await;
    // What is left goes with the cores.
    tokio::task::spawn_blocking(move || cores.stop()).await.expect("stopped");
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_task_that_goes_to_a_core_that_has_ended_ends() {
    let (alive, ended) = (cores(1), prepare().expect("a descriptor").1);
    // What its core's thread does at its end.
    assert!(ended.arrived.lock().take().is_some());
    let (sender, dropped) = oneshot::channel::<()>();
    let to = ended.clone();
    alive.serve_on(
        0,
        poll_fn(move |_| {
            let _kept = &sender;
            assert!(move_to(&to));
            Poll::Pending
        }),
    );
    assert!(dropped.await.is_err(), "it was dropped");
    waker::forget(ended.number);
    tokio::task::spawn_blocking(move || alive.stop()).await.expect("stopped");
}
