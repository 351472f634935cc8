use std::{
    io::{self, IoSlice},
    net::{Shutdown, SocketAddr},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll},
};

use nix::{
    errno::Errno,
    sys::{
        epoll::{EpollEvent, EpollFlags},
        socket::{MsgFlags, recv, send, sendmsg},
    },
};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Events, TaskId, here, waker};

/// A connected TCP or Unix socket, for futures that a reactor runs ([`super::spawn`]); each of them may wait for one socket.
///
/// It belongs to the future that waits for it, and may go with it or by itself to another future, on this core or another.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    /// The task that the epoll set names.
    owner: TaskId,
    /// What it may be ready for: cleared when the system says that it is not.
    ready: Events,
    /// The epoll set watches for room to write, too.
    watches_room: bool,
}

impl Socket {
    /// A socket, blocking or not.
    pub fn new(descriptor: impl Into<OwnedFd>) -> Self {
        // There is room. What has come already is reported when it is watched; mostly nothing has, and to ask would be in vain.
        Self { descriptor: descriptor.into(), owner: TaskId::NONE, ready: Events::WRITE, watches_room: false }
    }

    /// Its own address, if it is an IP socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        SockRef::from(&self.descriptor).local_addr().ok()?.as_socket()
    }

    /// Takes what the core has reported for the task that is being polled.
    fn take_events(&mut self) {
        let Some(here) = here() else { return };
        if self.owner != TaskId::NONE && self.owner == here.current.get() {
            self.ready |= here.events.take();
        }
    }

    /// Sees to it that the task that is being polled is woken when the socket becomes ready.
    fn watch(&mut self) -> io::Result<()> {
        let wants_room = self.watches_room || !self.ready.has(Events::WRITE);
        let Some(here) = here().filter(|here| here.current.get() != TaskId::NONE) else {
            return Err(io::Error::other("a socket waits in no task of a core"));
        };
        let current = here.current.get();
        if self.owner == current && wants_room == self.watches_room {
            return Ok(());
        }
        let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        flags.set(EpollFlags::EPOLLOUT, wants_room);
        // Whoever is added or changed is reported at once if it is ready.
        let mut event = EpollEvent::new(flags, current.word());
        let set = &here.remote.epoll;
        if self.owner == TaskId::NONE {
            set.add(&self.descriptor, event)?;
        } else if self.owner.reactor() == current.reactor() {
            set.modify(&self.descriptor, &mut event)?;
        } else {
            if let Some(former) = waker::find(self.owner.reactor()) {
                // If that core has gone its set has gone too.
                let _ = former.epoll.delete(&self.descriptor);
            }
            set.add(&self.descriptor, event)?;
        }
        self.owner = current;
        self.watches_room = wants_room;
        Ok(())
    }

    /// Does what the socket may be ready for, or waits.
    fn attempt<R>(&mut self, kind: Events, mut act: impl FnMut(i32) -> nix::Result<R>) -> Poll<io::Result<R>> {
        self.take_events();
        while self.ready.has(kind) {
            match act(self.descriptor.as_fd().as_raw_fd()) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.ready = self.ready.without(kind),
                result => return Poll::Ready(result.map_err(Into::into)),
            }
        }
        match self.watch() {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        let read = |socket| recv(socket, buffer.initialize_unfilled(), MsgFlags::MSG_DONTWAIT);
        let count = std::task::ready!(self.attempt(Events::READ, read))?;
        buffer.advance(count);
        // It was emptied, and what comes next is reported; the end only once.
        if count < room && !self.ready.has(Events::CLOSED) {
            self.ready = self.ready.without(Events::READ);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.attempt(Events::WRITE, |socket| send(socket, bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        self.attempt(Events::WRITE, |socket| sendmsg::<()>(socket, parts, &[], flags, None))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&self.descriptor).shutdown(Shutdown::Write))
    }
}
