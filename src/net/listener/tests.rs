use std::{sync::atomic::Ordering, time::Duration};

use thingway_contract::{Peer, Transport};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use super::*;
use crate::net::limit::{Limits, Opened, Rate};

/// Echoes, and tells whom it served.
#[derive(Clone)]
pub(in crate::net) struct Echo(mpsc::Sender<(Peer, bool)>);

impl Echo {
    pub(in crate::net) fn new() -> (Self, mpsc::Receiver<(Peer, bool)>) {
        let (sender, receiver) = mpsc::channel(64);
        (Self(sender), receiver)
    }
}

impl StreamSink for Echo {
    fn accept<T: ByteStream>(&self, peer: Peer, mut io: T, opened: Opened) {
        let _ = self.0.try_send((peer, opened.shed())); // A test may not care.
        crate::net::reactor::spawn(async move {
            let _opened = opened;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match io.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(count) => {
                        if io.write_all(&buffer[..count]).await.is_err() || io.flush().await.is_err() {
                            break;
                        }
                    }
                }
            }
            let _ = io.shutdown().await;
        });
    }
}

/// Cores for tests.
pub(in crate::net) fn cores(count: usize) -> Cores {
    let bus = std::sync::Arc::new(crate::bus::Bus::new(crate::bus::BusConfig::default(), "test-"));
    Cores::start(count, &bus, crate::net::core::Clock::new()).unwrap()
}

fn options() -> ListenerOptions {
    ListenerOptions::new("test", Bind::Tcp(Address::One("127.0.0.1:0".parse().unwrap())))
}

async fn echoes(stream: &mut TcpStream) {
    stream.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");
}

/// Waits for a counter that another thread changes.
pub(in crate::net) async fn eventually(what: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(10), async {
        while !what() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("did not come true in time");
}

#[tokio::test]
async fn serves_on_every_core_and_stops() {
    let (echo, mut peers) = Echo::new();
    let handle = start(options(), &cores(3), echo).unwrap();
    let address = handle.local_address().unwrap();
    assert_ne!(address.port(), 0);
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        echoes(&mut stream).await;
        let (peer, shed) = peers.recv().await.unwrap();
        assert_eq!(peer.remote, Some(stream.local_addr().unwrap()));
        assert_eq!(peer.local, Some(address));
        assert_eq!(peer.transport, Transport::Tcp);
        assert!(!shed);
    }
    let mut open = TcpStream::connect(address).await.unwrap();
    echoes(&mut open).await;
    handle.stop().await;
    assert_eq!(TcpStream::connect(address).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    echoes(&mut open).await;
    // The port is free again, although a connection is still open.
    let again = ListenerOptions::new("test", Bind::Tcp(Address::One(address)));
    start(again, &cores(1), Echo::new().0).unwrap();
}

#[tokio::test]
async fn busy_port_is_an_error_that_names_it() {
    let first = start(options(), &cores(1), Echo::new().0).unwrap();
    let address = first.local_address().unwrap();
    let error =
        start(ListenerOptions::new("second", Bind::Tcp(Address::One(address))), &cores(1), Echo::new().0).unwrap_err();
    let ListenError::Bind { listener, address: named, cause } = &error else { panic!("{error}") };
    assert_eq!((&**listener, *named, cause.kind), ("second", Address::One(address), std::io::ErrorKind::AddrInUse));
    assert!(error.to_string().contains(&address.to_string()));
}

#[tokio::test]
async fn full_listener_closes_newcomers_and_recovers() {
    let mut options = options();
    options.limits = Limits { connections_max: 1, ..Limits::default() };
    let handle = start(options, &cores(2), Echo::new().0).unwrap();
    let address = handle.local_address().unwrap();
    let mut first = TcpStream::connect(address).await.unwrap();
    echoes(&mut first).await;
    let mut second = TcpStream::connect(address).await.unwrap();
    assert_eq!(second.read(&mut [0; 1]).await.unwrap_or(0), 0);
    let counters = &handle.shared().counters;
    assert_eq!(counters.refused_full.load(Ordering::Relaxed), 1);
    drop(first);
    eventually(|| counters.connections.load(Ordering::Relaxed) == 0).await;
    echoes(&mut TcpStream::connect(address).await.unwrap()).await;
}

#[tokio::test]
async fn connection_rate_delays_but_loses_nobody() {
    let mut options = options();
    options.limits.rate = Some(Rate::per_second(50, 2));
    let handle = start(options, &cores(2), Echo::new().0).unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..7 {
        echoes(&mut TcpStream::connect(handle.local_address().unwrap()).await.unwrap()).await;
    }
    // Two at once, then five at 20 ms each.
    assert!(begun.elapsed() >= Duration::from_millis(90), "{:?}", begun.elapsed());
    assert!(handle.shared().counters.rate_pauses.load(Ordering::Relaxed) >= 1);
}

#[tokio::test]
async fn overload_marks_connections() {
    let (echo, mut peers) = Echo::new();
    let handle = start(options(), &cores(1), echo).unwrap();
    handle.shared().shed.store(true, Ordering::Relaxed);
    echoes(&mut TcpStream::connect(handle.local_address().unwrap()).await.unwrap()).await;
    assert!(peers.recv().await.unwrap().1);
    assert_eq!(handle.shared().counters.shed.load(Ordering::Relaxed), 1);
}

/// Whom a listener serves: IPv4 and IPv6.
async fn families_served(address: Address) -> Option<(bool, bool)> {
    let (echo, mut peers) = Echo::new();
    let handle = start(ListenerOptions::new("wildcard", Bind::Tcp(address)), &cores(1), echo).ok()?;
    let port = handle.local_address().unwrap().port();
    let v4 = match TcpStream::connect(("127.0.0.1", port)).await {
        Ok(mut stream) => {
            echoes(&mut stream).await;
            assert!(peers.recv().await.unwrap().0.remote.unwrap().is_ipv4(), "IPv4 peers are shown as such");
            true
        }
        Err(_) => false,
    };
    let v6 = match TcpStream::connect(("::1", port)).await {
        Ok(mut stream) => {
            echoes(&mut stream).await;
            true
        }
        Err(_) => false,
    };
    Some((v4, v6))
}

#[tokio::test]
async fn wildcards_serve_the_families_that_they_name() {
    // Without IPv6 on this machine, `[::]` cannot be listened on.
    let has_v6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    assert_eq!(families_served(Address::Every(0)).await, Some((true, has_v6)));
    assert_eq!(families_served(Address::One("0.0.0.0:0".parse().unwrap())).await, Some((true, false)));
    if has_v6 {
        assert_eq!(families_served(Address::One("[::]:0".parse().unwrap())).await, Some((false, true)));
    }
}

mod layers;
