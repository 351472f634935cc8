//! A run: rounds of publishing, each ended by a kill or not, and checks in between.

use std::{future::Future, pin::Pin, rc::Rc, time::Duration};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::{
    common::{Client, Connect, PATIENCE, Property, Version, publish, wire::subscribe},
    devices::{self, Device},
    figures::{Figures, Kind},
    history::{MessageId, TopicId, What},
    mqttsn::MqttSn,
    publisher::Publisher,
    random::Random,
    server::Server,
    settings::Settings,
    subscriber::{Subscriber, filter},
    visitors::{Mortal, Visitor},
    world::{Over, World},
};

/// How long a round may take before the server counts as stuck.
const ROUND_MAX: Duration = Duration::from_secs(900);

/// When the server is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// When so many messages were acknowledged.
    Acknowledged(u32),
    /// When so many have arrived at subscribers.
    Arrived(u32),
    /// So long after the round's begin.
    After(Duration),
}

/// What becomes of the server in a round.
#[derive(Clone, Debug)]
struct Plan {
    kill: Option<Point>,
    /// So long after its start it is killed again, each time.
    again: Vec<Duration>,
}

impl Plan {
    fn draw(random: &mut Random, kill_percent: u32) -> Self {
        let point = match random.of(0..=3) {
            0 | 1 => Point::Acknowledged(random.of(1..=120)),
            2 => Point::Arrived(random.of(1..=400)),
            _ => Point::After(Duration::from_micros(random.of(0..=60_000).into())),
        };
        let kill = random.chance(kill_percent).then_some(point);
        let mut again = Vec::new();
        while random.chance(10) {
            again.push(Duration::from_micros(random.of(0..=30_000).into()));
        }
        if kill.is_none() {
            again.clear();
        }
        Self { kill, again }
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    pub figures: Figures,
    /// The first fault of each sort with the history of its message, in the order of their finding.
    pub stories: Vec<String>,
}

/// Everybody.
struct Clients {
    publishers: Vec<Publisher>,
    /// They publish as well.
    devices: Vec<Device>,
    subscribers: Vec<Subscriber>,
    sensors: Vec<MqttSn>,
    visitors: Vec<Visitor>,
    mortals: Vec<Mortal>,
}

impl Clients {
    async fn new(world: &World) -> Self {
        let publishers = (0..4).map(|index| Publisher::new(world, index)).collect();
        let group = world.history().add_group("group", 2);
        let subscriber = |name: &str, version, window, wants: &[(Kind, u8)], shares: bool| {
            Subscriber::new(world, name, version, window, wants, shares.then_some((group, 2)))
        };
        let (all, fence) =
            ([(Kind::Plain, 2), (Kind::Delayed, 2), (Kind::Will, 1), (Kind::Fence, 1)], (Kind::Fence, 1));
        let all = if world.is_thingway { all.to_vec() } else { vec![all[0], all[2], all[3]] };
        let subscribers = vec![
            subscriber("subscriber0", Version::V5, 50, &all, false),
            subscriber("subscriber1", Version::V311, 50, &all, false),
            subscriber("subscriber2", Version::V5, 10, &[(Kind::Plain, 2), fence], false),
            subscriber("subscriber3", Version::V311, 50, &[(Kind::Plain, 1), fence], false),
            subscriber("member0", Version::V5, 50, &[fence], true),
            subscriber("member1", Version::V311, 50, &[fence], true),
            subscriber("member2", Version::V5, 8, &[fence], true),
        ];
        let (mut sensors, mut devices) = (Vec::new(), Vec::new());
        if world.is_thingway {
            devices.extend([Device::mqttsn(world).await, Device::coap(world).await]);
            sensors.push(MqttSn::new(world, "sensor0", &[(Kind::Plain, 1), fence]).await);
            sensors.push(MqttSn::new(world, "sensor1", &[(Kind::Plain, 2), fence]).await);
        }
        let visitors = (0..4).map(|index| Visitor::new(world, index)).collect();
        let mortals = (0..3).map(|index| Mortal::new(world, index)).collect();
        Self { publishers, devices, subscribers, sensors, visitors, mortals }
    }

    /// How many of them publish.
    fn publishing(&self) -> u32 {
        (self.publishers.len() + self.devices.len()) as u32
    }

    async fn prepare(&mut self, world: &World) {
        let mut all: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
        all.extend(self.subscribers.iter_mut().map(|client| Box::pin(client.prepare(world)) as _));
        all.extend(self.sensors.iter_mut().map(|client| Box::pin(client.prepare(world)) as _));
        timeout(ROUND_MAX, join_all(all)).await.expect("subscriptions in time");
    }

    fn plan(&mut self, seed: u64, round: u32) {
        let mut stream = 0;
        let mut random = || {
            stream += 1;
            Random::new(seed, [round.into(), stream])
        };
        self.publishers.iter_mut().for_each(|client| client.plan(&mut random()));
        self.subscribers.iter_mut().for_each(|client| client.plan(&mut random()));
        self.sensors.iter_mut().for_each(|client| client.plan(&mut random()));
        self.visitors.iter_mut().for_each(|client| client.plan(&mut random()));
        self.mortals.iter_mut().for_each(|client| client.plan(&mut random()));
        self.devices.iter_mut().for_each(|client| client.plan(&mut random()));
    }

    fn plan_drain(&mut self) {
        self.publishers.iter_mut().for_each(Publisher::plan_drain);
        self.devices.iter_mut().for_each(Device::plan_drain);
        self.subscribers.iter_mut().for_each(Subscriber::plan_drain);
        self.sensors.iter_mut().for_each(MqttSn::plan_drain);
        self.visitors.iter_mut().for_each(Visitor::plan_drain);
        self.mortals.iter_mut().for_each(Mortal::plan_drain);
    }

    /// All of them, until the round is over.
    async fn round(&mut self, world: &World) {
        let mut all: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
        all.extend(self.publishers.iter_mut().map(|client| Box::pin(client.round(world)) as _));
        all.extend(self.devices.iter_mut().map(|client| Box::pin(client.round(world)) as _));
        all.extend(self.subscribers.iter_mut().map(|client| Box::pin(client.round(world)) as _));
        all.extend(self.sensors.iter_mut().map(|client| Box::pin(client.round(world)) as _));
        all.extend(self.visitors.iter_mut().map(|client| Box::pin(client.round(world)) as _));
        all.extend(self.mortals.iter_mut().map(|client| Box::pin(client.round(world)) as _));
        join_all(all).await;
    }
}

struct Run<'a> {
    settings: &'a Settings,
    server: Server,
    world: World,
    fence: TopicId,
}

/// Runs it all. Ends early at a fault if the settings are strict.
pub async fn run(settings: &Settings) -> Outcome {
    let mut server = Server::new(settings.kind);
    server.start().await;
    let world = World::new(server.mqtt(), server.datagrams(), settings.kind.is_thingway());
    let fence = world.history().add_topic("fence", "fence", 1, Kind::Fence);
    let mut clients = Clients::new(&world).await;
    clients.prepare(&world).await;
    let mut run = Run { settings, server, world, fence };
    for round in 1..=settings.rounds {
        run.round(&mut clients, round).await;
        if round % settings.drain_every == 0 || round == settings.rounds {
            run.drain(&mut clients).await;
        }
        run.world.history().figures.rounds = round;
        if settings.strict && !run.world.history().stories.is_empty() {
            let folder = run.server.keep_folder();
            eprintln!(
                "the server's folder is left in {}, its log ends:\n{}",
                folder.display(),
                run.server_log(&folder)
            );
            break;
        }
    }
    let mut history = run.world.history();
    Outcome { figures: history.figures.clone(), stories: history.stories.drain(..).map(|(_, story)| story).collect() }
}

impl Run<'_> {
    async fn round(&mut self, clients: &mut Clients, round: u32) {
        let Self { world, server, settings, .. } = self;
        let plan = Plan::draw(&mut Random::new(settings.seed, [round.into(), 0]), settings.kill_percent);
        clients.plan(settings.seed, round);
        world.begin();
        let publishers = clients.publishing();
        let conduct = async {
            let finished = world.until(|progress| progress.finished == publishers);
            match plan.kill {
                None => {
                    finished.await;
                    world.end(Over::Alive);
                }
                Some(point) => {
                    tokio::select! {
                        () = finished => {}
                        () = reached(world, point) => {}
                    }
                    server.kill();
                    world.end(Over::Killed);
                    let text = format!("SIGKILL in round {round}, {point:?}, {:?}", world.progress());
                    world.history().mark(text);
                    world.history().figures.kills += 1;
                }
            }
        };
        if timeout(ROUND_MAX, async { tokio::join!(conduct, clients.round(world)) }).await.is_err() {
            panic!("round {round} of seed {} is stuck: {:?}\n{}", settings.seed, world.progress(), server.log());
        }
        if plan.kill.is_none() {
            return;
        }
        for delay in plan.again {
            server.spawn();
            // The fault itself, not the way to wait for something.
            tokio::time::sleep(delay).await;
            server.kill();
            world.history().mark(format!("SIGKILL {delay:?} after the start"));
            world.history().figures.kills += 1;
        }
        server.start().await;
        world.history().mark("started".into());
        self.look_at_retained().await;
    }

    /// Lets everything come to its end and checks it.
    async fn drain(&mut self, clients: &mut Clients) {
        let world = &self.world;
        clients.plan_drain();
        world.begin();
        let publishers = clients.publishing();
        let conduct = async {
            world.until(|progress| progress.finished == publishers).await;
            self.publish_fence().await;
            if self.wait_drained().await {
                // What was still to come behind the last message that was wanted comes before this one.
                self.publish_fence().await;
                self.wait_drained().await;
            }
            world.end(Over::Alive);
        };
        if timeout(ROUND_MAX, async { tokio::join!(conduct, clients.round(world)) }).await.is_err() {
            panic!("a drain of seed {} is stuck: {:?}\n{}", self.settings.seed, world.progress(), self.server.log());
        }
        self.look_at_retained().await;
        if self.world.is_thingway {
            let found = devices::look_at_retained(&self.world, filter(Kind::Retained)).await;
            self.world.history().look_at_retained(&found);
        }
        self.world.history().check();
    }

    /// False when nothing has come for so long that nothing more will.
    async fn wait_drained(&self) -> bool {
        // Only what is lost is waited for so long.
        let patience = Duration::from_secs(if self.settings.strict { 120 } else { 5 });
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let mut last = (self.world.progress().arrived, tokio::time::Instant::now());
        loop {
            if self.world.history().is_drained() {
                return true;
            }
            let arrived = self.world.progress().arrived;
            if arrived != last.0 {
                last = (arrived, tokio::time::Instant::now());
            } else if last.1.elapsed() > patience {
                return false;
            }
            ticks.tick().await;
        }
    }

    async fn publish_fence(&self) {
        let id: MessageId = self.world.history().offer(self.fence, false);
        let payload = self.world.history().payload(id);
        let name: Rc<str> = "control".into();
        let (mut client, _) = Client::connect(self.world.mqtt, &Connect::new(Version::V5, "control")).await;
        client.publish("fence", &payload, 1).await;
        self.world.history().note(id, &name, What::Complete);
    }

    /// Compares what is retained with what was acknowledged. Nobody publishes meanwhile.
    async fn look_at_retained(&self) {
        let connect = Connect::new(Version::V5, "look");
        let connect = connect.property(Property::TopicAliasMaximum(0));
        let (mut client, _) = Client::connect(self.world.mqtt, &connect).await;
        let filters = [("r/#", 0), ("looked", 0)];
        client.send(&subscribe(Version::V5, 1, &filters, &[])).await;
        client.suback(1).await;
        client.send(&publish(Version::V5, "looked", b"", 0, 0, &[])).await;
        let mut found = Vec::new();
        loop {
            match timeout(PATIENCE, client.expect_publish()).await.expect("a message in time") {
                publish if publish.topic == "looked" => break,
                publish => found.push((publish.topic, publish.payload)),
            }
        }
        self.world.history().look_at_retained(&found);
    }

    fn server_log(&self, folder: &std::path::Path) -> String {
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

async fn reached(world: &World, point: Point) {
    match point {
        Point::Acknowledged(count) => world.until(|progress| progress.acknowledged >= count).await,
        Point::Arrived(count) => world.until(|progress| progress.arrived >= count).await,
        Point::After(time) => tokio::time::sleep(time).await,
    }
}
