//! The driver of byte streams: one hand-written future for each connection, generic over protocol and transport.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use thingway_contract::{Input, Instant, Peer, Protocol};
use tokio::{io::ReadBuf, time::Sleep};

use super::{
    ByteStream,
    conversation::{Batch, Conversation, Step, Stop, Turn},
    core::{CoreLocal, SCRATCH_BYTES},
    pending::{Stash, Unwritten, poll_write_pieces},
    service::{Allowance, Service},
    traffic::{Apart, Few, Linger},
    wheel::{TimerId, Wheel},
};
use crate::bus::{Counter, DepartCause, Lane};

/// Reads of one turn; a connection with more to read goes to the end of the queue.
const READS_PER_TURN: usize = 4;
/// Batches of one turn.
const BATCHES_PER_TURN: usize = 16;
/// Bytes collected before they are written within a turn.
const WRITE_BYTES: usize = 64 * 1024;
/// Answers kept for a peer that takes no bytes now, before it is read no further. A peer may well write all it has before it reads: not to
/// read it until then would leave both waiting for each other. Deliveries wait in the session's queue, so these are acknowledgements.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a large frame that must have come before the rest is read to where it is needed: who only announces one gets no buffer for it.
const STASH_BYTES: usize = SCRATCH_BYTES / 4;
/// How long reading is put off when a subscriber is behind.
const BACKPRESSURE: Duration = Duration::from_millis(5);
/// Longest time for which reading is put off at once; what is owed then is charged again.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a connection that ends may take to get rid of its last bytes.
const LINGER: Duration = Duration::from_secs(3);
/// Bytes that a connection that ends reads away so that its last words are not lost to a reset.
const LINGER_BYTES: usize = 256 * 1024;

/// A connection.
pub struct Connection<P: Protocol, T, G> {
    io: T,
    conversation: Conversation<P>,
    service: Arc<Service<P>>,
    /// The stash waits for a reply or the end of a pause, not for bytes.
    stash_ready: bool,
    /// Incomplete frame, or input that waits for a reply.
    stash: Option<Box<Stash>>,
    unwritten: Option<Box<Unwritten>>,
    /// Nothing is read before its end.
    pause: Option<Pin<Box<Sleep>>>,
    /// What it has received and sent, and in `apart` the rest of that.
    few: Few,
    apart: Option<Box<Apart>>,
    timer: Option<TimerId>,
    timer_at: Instant,
    /// The core that counts it.
    core: u16,
    /// It has come from another core, and its session does not know yet.
    moved: bool,
    /// The listener's guard of this connection's place in its counts.
    _opened: G,
}

impl<P: Protocol, T: ByteStream, G: Send + Unpin + 'static> Connection<P, T, G> {
    /// A connection that was just opened, on the core of the calling thread, where it is to be run.
    pub fn new(service: Arc<Service<P>>, peer: Peer, io: T, opened: G, shed: bool) -> Self {
        let now = service.clock.now();
        let core = service.cores.enter_here();
        Self {
            io,
            conversation: Conversation::new(&service.config.load(), peer, shed, now),
            stash_ready: false,
            stash: None,
            unwritten: None,
            pause: None,
            few: Few::default(),
            apart: Apart::of(Allowance::new(&service.rates, now)),
            timer: None,
            timer_at: Instant::NEVER,
            service,
            core,
            moved: false,
            _opened: opened,
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal) -> Poll<()> {
        let now = self.service.clock.now();
        core.tidy();
        if std::mem::take(&mut self.moved) {
            self.conversation.moved(cx.waker(), core.lane.core());
        }
        if self.timer_at <= now {
            self.timer = None;
            self.timer_at = Instant::NEVER;
        }
        if self.apart.as_ref().is_none_or(|apart| apart.linger.is_none()) {
            match self.work(cx, core, now) {
                Ok(()) if self.moves(core) => {
                    core.outbox.clear();
                    return Poll::Pending;
                }
                Ok(()) => {
                    // Who is not read from cannot be called silent.
                    if self.pause.is_none() && !self.conversation.is_asking() {
                        self.arm(self.conversation.machine.deadline(), cx, &mut core.wheel);
                    }
                    core.outbox.clear();
                    return Poll::Pending;
                }
                Err(stop) => self.stop(stop, cx, core, now),
            }
        }
        // The outbox is the core's: what a conversation that is over still asked for must not become the next one's.
        core.outbox.forget_requests();
        core.outbox.clear();
        let done = self.linger(cx, core, now);
        core.outbox.clear();
        done
    }

    /// Goes to the core that its deliveries come from, if there is one and nothing stands in the way: what else would wake it would do so here.
    fn moves(&mut self, core: &mut CoreLocal) -> bool {
        let Some(to) = core.pull.take().filter(|_| T::MOVES) else { return false };
        let is_free = self.conversation.is_settled() && self.unwritten.is_none() && self.pause.is_none();
        if !is_free || !self.service.cores.move_here_to(self.core, to) {
            return false;
        }
        if let Some(timer) = self.timer.take() {
            core.wheel.cancel(timer);
        }
        self.timer_at = Instant::NEVER;
        self.service.cores.leave(usize::from(self.core));
        self.service.cores.enter(usize::from(to));
        core.lane.count(Counter::ConnectionsMoved, 1);
        self.core = to;
        self.moved = true;
        true
    }

    fn work(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Step<P> {
        self.flush_unwritten(cx)?;
        let was_asking = self.conversation.is_asking();
        let mut fresh = self.poll_pending(cx, core, now)?;
        // The protocol may have waited for replies before it takes more.
        self.stash_ready |= fresh && self.stash.is_some();
        if self.conversation.machine.deadline() <= now && self.pause.is_none() && !was_asking {
            let outcome = self.conversation.machine.timeout(now, &mut core.outbox);
            self.answer(cx, core, now)?;
            outcome.map_err(Stop::Fault)?;
            fresh = true;
        }
        fresh |= self.read(cx, core, now)?;
        self.conversation.blocked &= !fresh;
        if fresh && T::STREAMS {
            // Answers go where the question came from, which need not be where deliveries go.
            self.write(cx, core)?;
        }
        self.io.select_main();
        self.deliver(cx, core, now)?;
        self.write(cx, core)?;
        if core.outbox.is_closing() && self.conversation.may_end() { Err(Stop::Done) } else { Ok(()) }
    }

    /// True when the peer takes no bytes and no more can be kept for it.
    fn is_clogged(&self) -> bool {
        // With several streams an answer must be written before the next question is read: that decides where it goes.
        self.unwritten.as_ref().is_some_and(|unwritten| T::STREAMS || unwritten.answer_bytes() >= ANSWER_BYTES_MAX)
    }

    fn may_read(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_clogged() || self.conversation.is_full() {
            return false;
        }
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.pause = None;
        }
        true
    }

    /// Reads what there is, up to this turn's share. True when anything came.
    fn read(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Step<P, bool> {
        let mut any = false;
        for _ in 0..READS_PER_TURN {
            // Asked first, for it also sees to it that the end of a pause wakes this connection.
            if !self.may_read(cx) || core.outbox.is_closing() {
                return Ok(any);
            }
            // What is kept and ready comes before anything new.
            if self.stash_ready {
                let bytes = self.stash.take().map(|stash| stash.bytes).unwrap_or_default();
                self.feed(&bytes, cx, core, now)?;
                any = true;
                continue;
            }
            if self
                .stash
                .as_ref()
                .is_some_and(|stash| stash.wanted > SCRATCH_BYTES / 2 && stash.bytes.len() >= STASH_BYTES)
            {
                let Some(count) = self.read_into_stash(cx)? else { return Ok(any) };
                core.lane.count(Counter::BytesReceived, count as u64);
                core.tally.received(count);
                self.charge_bytes(count, &core.lane, now);
                any = true;
                if self.stash.as_ref().is_some_and(|stash| stash.is_complete()) {
                    let bytes = self.stash.take().map(|stash| stash.bytes).unwrap_or_default();
                    self.feed(&bytes, cx, core, now)?;
                }
                continue;
            }
            let mut scratch = std::mem::take(&mut core.scratch);
            let held = self.stash.as_ref().map_or(0, |stash| stash.bytes.len());
            let mut buffer = ReadBuf::new(&mut scratch[held..]);
            let polled = Pin::new(&mut self.io).poll_read(cx, &mut buffer);
            let count = buffer.filled().len();
            let result = match polled {
                Poll::Ready(Ok(())) if count > 0 => {
                    if let Some(stash) = self.stash.take() {
                        scratch[..held].copy_from_slice(&stash.bytes);
                    }
                    any = true;
                    core.lane.count(Counter::BytesReceived, count as u64);
                    core.tally.received(count);
                    self.feed(&scratch[..held + count], cx, core, now).map(|()| {
                        self.charge_bytes(count, &core.lane, now);
                        true
                    })
                }
                Poll::Ready(Ok(())) => Err(Stop::Gone),
                Poll::Ready(Err(_)) => Err(Stop::Gone),
                Poll::Pending => Ok(false),
            };
            core.scratch = scratch;
            if !result? {
                return Ok(any);
            }
        }
        cx.waker().wake_by_ref();
        Ok(any)
    }

    /// Reads the rest of a large frame to where it is needed. The buffer grows with what arrives, not with what was announced.
    fn read_into_stash(&mut self, cx: &mut Context<'_>) -> Step<P, Option<usize>> {
        let Some(stash) = &mut self.stash else { return Ok(None) };
        let held = stash.bytes.len();
        let room = (stash.wanted - held).min(held);
        stash.bytes.resize(held + room, 0);
        let mut buffer = ReadBuf::new(&mut stash.bytes[held..]);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut buffer);
        let count = buffer.filled().len();
        stash.bytes.truncate(held + count);
        match polled {
            Poll::Pending => Ok(None),
            Poll::Ready(Ok(())) if count > 0 => Ok(Some(count)),
            Poll::Ready(_) => Err(Stop::Gone),
        }
    }

    /// Gives bytes to the protocol until it has consumed all whole frames or must wait; keeps the rest.
    fn feed(&mut self, bytes: &[u8], cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Step<P> {
        let mut input = Input::new(bytes);
        self.stash_ready = false;
        loop {
            let before = input.consumed();
            let outcome = self.conversation.machine.receive(&mut input, now, &mut core.outbox);
            // What came before a bad packet was good.
            self.answer(cx, core, now)?;
            outcome.map_err(Stop::Fault)?;
            if core.outbox.is_closing() {
                return Ok(());
            }
            if input.remaining().is_empty() {
                return Ok(());
            }
            if core.outbox.len() >= WRITE_BYTES {
                self.write(cx, core)?;
            }
            let must_wait = self.conversation.is_full() || self.is_clogged() || self.pause.is_some();
            if must_wait || input.consumed() == before {
                self.stash_ready = must_wait;
                let wanted = if must_wait { 0 } else { input.wanted() };
                self.stash = Some(Stash::new(input.remaining(), wanted));
                return Ok(());
            }
        }
    }

    /// Does what the protocol asked for and tells it the results.
    fn answer(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Step<P> {
        let Self { conversation, service, apart, pause, .. } = self;
        let mut allowance = apart.as_mut().and_then(|apart| apart.allowance.as_mut());
        conversation.answer(Turn { service, waker: cx.waker(), now }, core, |lane, rates| {
            let bucket = allowance.as_mut().and_then(|allowance| allowance.messages.as_mut());
            rest(pause, bucket.map_or(Duration::ZERO, |bucket| bucket.charge(1, now)), lane);
            for rates in service.shared_rates.iter().chain(rates) {
                rest(pause, rates.charge_message(now), lane);
            }
            true
        })?;
        if core.lane.take_congested() && self.pause.is_none() {
            core.lane.count(Counter::Backpressure, 1);
            self.pause = Some(Box::pin(tokio::time::sleep(BACKPRESSURE)));
        }
        Ok(())
    }

    fn charge_bytes(&mut self, count: usize, lane: &Lane, now: Instant) {
        let allowance = self.apart.as_mut().and_then(|apart| apart.allowance.as_mut());
        let bucket = allowance.and_then(|allowance| allowance.bytes.as_mut());
        let debt = bucket.map_or(Duration::ZERO, |bucket| bucket.charge(count as u64, now));
        rest(&mut self.pause, debt, lane);
        for rates in self.service.shared_rates.iter().chain(self.conversation.rates()) {
            rest(&mut self.pause, rates.charge_bytes(count, now), lane);
        }
    }

    /// Asks again for a session that another connection had. True when there was an answer.
    fn poll_pending(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Step<P, bool> {
        let answered = self.conversation.poll_pending(Turn { service: &self.service, waker: cx.waker(), now }, core)?;
        self.answer(cx, core, now)?;
        Ok(answered)
    }

    /// Moves deliveries from the session's queue to the peer, as far as the peer and this turn's share allow.
    fn deliver(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Step<P> {
        for _ in 0..BATCHES_PER_TURN {
            let hold = self.unwritten.is_some();
            let turn = Turn { service: &self.service, waker: cx.waker(), now };
            let batch = self.conversation.deliver_batch(hold, turn, core)?;
            if core.outbox.len() >= WRITE_BYTES {
                self.write(cx, core)?;
            }
            if batch != Batch::More {
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Writes the outbox; what the transport does not take now is kept, and nothing more is delivered until it is gone.
    fn write(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal) -> Step<P> {
        if core.outbox.is_empty() {
            return Ok(());
        }
        let total = core.outbox.len();
        core.lane.count(Counter::BytesSent, total as u64);
        core.tally.sent(total);
        if let Some(unwritten) = &mut self.unwritten {
            unwritten.append(&mut core.outbox);
            return Ok(());
        }
        let mut written = 0;
        while written < total {
            match poll_write_pieces(&mut self.io, core.outbox.pieces(), written, cx) {
                Poll::Ready(Ok(0)) => return Err(Stop::Gone),
                Poll::Ready(Ok(count)) => written += count,
                Poll::Ready(Err(error)) => return Err(error.into()),
                Poll::Pending => {
                    self.unwritten = Some(Box::new(Unwritten::new(&mut core.outbox, written)));
                    return Ok(());
                }
            }
        }
        let closing = core.outbox.is_closing();
        core.outbox.clear();
        if closing {
            core.outbox.close();
        }
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(result) => Ok(result?),
            Poll::Pending => {
                self.unwritten = Some(Box::default());
                Ok(())
            }
        }
    }

    fn flush_unwritten(&mut self, cx: &mut Context<'_>) -> Step<P> {
        let Some(unwritten) = &mut self.unwritten else { return Ok(()) };
        match unwritten.poll_write(&mut self.io, cx) {
            Poll::Ready(result) => {
                result?;
                self.unwritten = None;
                Ok(())
            }
            Poll::Pending => Ok(()),
        }
    }

    /// The conversation is over: last words are written if there are any, the session is given back.
    fn stop(&mut self, stop: Stop<P::Fault>, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) {
        self.conversation.stop(&stop, &self.service, core, now);
        let gone = matches!(stop, Stop::Gone) || self.write(cx, core).is_err();
        if let Some(timer) = self.timer.take() {
            core.wheel.cancel(timer);
        }
        self.timer_at = Instant::NEVER;
        self.stash = None;
        if gone {
            self.unwritten = None;
        }
        let until = if gone { now } else { now + LINGER };
        self.apart.get_or_insert_default().linger = Some(Linger { until, discarded: 0 });
    }

    fn linger(&mut self, cx: &mut Context<'_>, core: &mut CoreLocal, now: Instant) -> Poll<()> {
        let Some(linger) = self.apart.as_mut().and_then(|apart| apart.linger.as_mut()) else { return Poll::Ready(()) };
        let deadline = linger.until;
        if deadline <= now {
            return Poll::Ready(());
        }
        let mut step = |cx: &mut Context<'_>| -> Poll<io::Result<()>> {
            if let Some(unwritten) = &mut self.unwritten {
                ready!(unwritten.poll_write(&mut self.io, cx))?;
                self.unwritten = None;
            }
            if T::ENDS_BY_DROP && !self.conversation.wrote_last_words {
                return Poll::Ready(Ok(()));
            }
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            // Closing with unread input would reset the connection and could destroy the last words on their way.
            while self.conversation.wrote_last_words && linger.discarded < LINGER_BYTES {
                let mut buffer = ReadBuf::new(&mut core.scratch);
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
                match buffer.filled().len() {
                    0 => break,
                    count => linger.discarded += count,
                }
            }
            Poll::Ready(Ok(()))
        };
        match step(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => {
                self.arm(deadline, cx, &mut core.wheel);
                Poll::Pending
            }
        }
    }

    /// Does what it was asked to do, unless it has ended meanwhile.
    #[cold]
    fn run_errands(&mut self, cx: &Context<'_>, core: &mut CoreLocal) {
        let Some(errands) = core.errands.take() else { return };
        let now = self.service.clock.now();
        self.conversation.run_errands(*errands, self.few.all(self.apart.as_deref()), &self.service, now);
        // One that has changed its core is armed there.
        if !self.moved
            && self.conversation.session().is_some()
            && !self.conversation.is_asking()
            && self.pause.is_none()
        {
            self.arm(self.conversation.machine.deadline(), cx, &mut core.wheel);
        }
    }

    fn arm(&mut self, at: Instant, cx: &Context<'_>, wheel: &mut Wheel) {
        if at >= self.timer_at {
            return;
        }
        if let Some(timer) = self.timer.take() {
            wheel.cancel(timer);
        }
        self.timer = Some(wheel.arm(at, cx.waker().clone()));
        self.timer_at = at;
    }
}

impl<P: Protocol, T: ByteStream, G: Send + Unpin + 'static> Future for Connection<P, T, G> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // Without a core there is nothing to run on: the thread is ending.
        CoreLocal::with(|core| {
            let turn = this.turn(cx, core);
            let CoreLocal { lane, outbox, tally, .. } = core;
            outbox.drain_counts(|kind, received, sent| {
                tally.packets(received.into(), sent.into());
                lane.counters().add_packets(kind, received.into(), sent.into());
            });
            if this.few.add(tally) {
                Few::carry(tally, this.apart.get_or_insert_default());
            }
            if core.errands.is_some() {
                this.run_errands(cx, core);
            }
            turn
        })
        .unwrap_or(Poll::Ready(()))
    }
}

impl<P: Protocol, T, G> Drop for Connection<P, T, G> {
    /// A connection that is dropped in mid-life (a panic in it, or the gateway's end) still gives its session back.
    fn drop(&mut self) {
        let timer = self.timer.take();
        if timer.is_some() || self.conversation.session().is_some() {
            let now = self.service.clock.now();
            CoreLocal::with(|core| {
                if let Some(timer) = timer {
                    core.wheel.cancel(timer);
                }
                self.conversation.depart(DepartCause::Closed, &self.service, now, &mut core.lane);
            });
        }
        self.service.cores.leave(usize::from(self.core));
    }
}

/// Puts off reading until the peer has the right to send again. What it sends meanwhile waits in the transport.
fn rest(pause: &mut Option<Pin<Box<Sleep>>>, debt: Duration, lane: &Lane) {
    if debt.is_zero() {
        return;
    }
    lane.count(Counter::RateLimited, 1);
    let until = tokio::time::Instant::now() + debt.min(PAUSE_MAX);
    if pause.as_ref().is_none_or(|pause| pause.deadline() < until) {
        *pause = Some(Box::pin(tokio::time::sleep_until(until)));
    }
}
