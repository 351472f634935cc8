//! A CoAP client over UDP: packets are coap-lite's, what they mean is written here once more.

use std::{
    collections::{HashMap, VecDeque},
    net::Ipv4Addr,
};

use coap_lite::{CoapOption, MessageClass, MessageType, Packet, RequestType};
use thingway::config::{Config, ListenerProtocol};
use tokio::{net::UdpSocket, time::timeout};

use crate::{
    common::{PATIENCE, TestGateway, gateway::listen_udp},
    endpoint::{Arrived, Endpoint, Publication, Seen},
};

/// A client that has a socket of its own.
#[derive(Debug)]
pub struct Coap {
    socket: UdpSocket,
    /// `clientid` and `token` parameters of an open connection.
    identity: Vec<String>,
    /// Topics by the token of their observation.
    observed: HashMap<Vec<u8>, String>,
    /// Messages that came while another was waited for.
    early: VecDeque<Response>,
    /// Message ids of confirmable messages that came.
    seen_ids: Vec<u16>,
    message_id_last: u16,
    token_last: u16,
    /// The next confirmable message is answered by RST.
    resets: bool,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: RequestType,
    pub confirmable: bool,
    pub path: Vec<String>,
    pub query: Vec<String>,
    pub options: Vec<(CoapOption, Vec<u8>)>,
    pub payload: Vec<u8>,
}

impl Request {
    /// A confirmable request for a path as it stands in a URI, without a leading slash.
    pub fn new(method: RequestType, path: &str) -> Self {
        Self {
            method,
            confirmable: true,
            path: path.split('/').map(str::to_owned).collect(),
            query: Vec::new(),
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// `ps/{topic}`.
    pub fn topic(method: RequestType, topic: &str) -> Self {
        Self::new(method, &format!("ps/{topic}"))
    }

    pub fn query(mut self, parameter: impl Into<String>) -> Self {
        self.query.push(parameter.into());
        self
    }

    /// An option whose value is an unsigned integer.
    pub fn number(self, option: CoapOption, value: u32) -> Self {
        let bytes = value.to_be_bytes();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        self.option(option, &bytes[zeros..])
    }

    pub fn option(mut self, option: CoapOption, value: &[u8]) -> Self {
        self.options.push((option, value.to_vec()));
        self
    }

    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }
}

/// A response or notification.
#[derive(Clone, Debug)]
pub struct Response {
    /// As RFC 7252 writes it, without the dot: 205 is 2.05 Content.
    pub code: u16,
    pub kind: MessageType,
    pub packet: Packet,
}

impl Response {
    /// An option whose value is an unsigned integer.
    pub fn number(&self, option: CoapOption) -> Option<u32> {
        let value = self.packet.get_first_option(option)?;
        Some(value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    pub fn option(&self, option: CoapOption) -> Option<&[u8]> {
        self.packet.get_first_option(option).map(Vec::as_slice)
    }

    pub fn text(&self) -> &str {
        str::from_utf8(&self.packet.payload).expect("tests publish text")
    }

    fn read(datagram: &[u8]) -> Self {
        let packet = Packet::from_bytes(datagram).unwrap_or_else(|fault| panic!("{fault:?} in {datagram:02x?}"));
        let code = u16::from(datagram[1] >> 5) * 100 + u16::from(datagram[1] & 0x1f);
        Self { code, kind: packet.header.get_type(), packet }
    }
}

impl Coap {
    /// A socket from which nothing was sent yet: requests without a connection.
    pub async fn open(gateway: &TestGateway) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        socket.connect(gateway.listener("udp.coap")).await.expect("an address to send to");
        Self {
            socket,
            identity: Vec::new(),
            observed: HashMap::new(),
            early: VecDeque::new(),
            seen_ids: Vec::new(),
            message_id_last: 0,
            token_last: 0,
            resets: false,
        }
    }

    /// Opens a connection, whose token later requests show.
    pub async fn open_connection(&mut self, client_id: &str) {
        self.open_connection_as(client_id, &[]).await;
    }

    /// The same with further parameters, as `username=name`.
    pub async fn open_connection_as(&mut self, client_id: &str, parameters: &[&str]) {
        let request = Request::new(RequestType::Post, "mqtt/connection").query(format!("clientid={client_id}"));
        let request = parameters.iter().fold(request, |request, parameter| request.query(*parameter));
        let response = self.request(&request).await;
        assert_eq!(response.code, 201, "{response:?}");
        self.identity = vec![format!("clientid={client_id}"), format!("token={}", response.text())];
    }

    /// Subscribes and returns the first response.
    pub async fn observe(&mut self, topic: &str, parameters: &[&str]) -> Response {
        let mut request = Request::topic(RequestType::Get, topic).number(CoapOption::Observe, 0);
        for parameter in parameters {
            request = request.query(*parameter);
        }
        let token = self.send(&request).await;
        self.observed.insert(token.clone(), topic.to_owned());
        self.response(&token).await
    }

    /// Cancels the observation of a topic by the token that it was made with, and returns the response.
    pub async fn cancel(&mut self, topic: &str) -> Response {
        let token = self.observed.iter().find(|(_, observed)| *observed == topic).map(|(token, _)| token.clone());
        let token = token.unwrap_or_else(|| panic!("{topic} is not observed"));
        self.observed.remove(&token);
        let request = Request::topic(RequestType::Get, topic).number(CoapOption::Observe, 1);
        self.send_with_token(&request, token.clone()).await;
        self.response(&token).await
    }

    /// Answers the next confirmable message by RST.
    pub fn reset_next(&mut self) {
        self.resets = true;
    }

    /// The token of the open connection.
    pub fn token(&self) -> &str {
        self.identity[1].strip_prefix("token=").expect("a connection is open")
    }

    /// The same client behind another port, as after a NAT has forgotten it.
    pub async fn move_to_other_port(&mut self) {
        let address = self.socket.peer_addr().expect("a connected socket");
        self.socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        self.socket.connect(address).await.expect("an address to send to");
    }

    /// Publishes and returns the response.
    pub async fn put(&mut self, topic: &str, payload: &[u8], parameters: &[&str]) -> Response {
        let mut request = Request::topic(RequestType::Put, topic).payload(payload);
        for parameter in parameters {
            request = request.query(*parameter);
        }
        self.request(&request).await
    }

    /// A plain GET of a topic.
    pub async fn get(&mut self, topic: &str) -> Response {
        self.request(&Request::topic(RequestType::Get, topic)).await
    }

    /// Sends a request and waits for its response.
    pub async fn request(&mut self, request: &Request) -> Response {
        let token = self.send(request).await;
        self.response(&token).await
    }

    /// Sends a request and returns its token.
    pub async fn send(&mut self, request: &Request) -> Vec<u8> {
        self.token_last += 1;
        let token = self.token_last.to_be_bytes().to_vec();
        self.send_with_token(request, token.clone()).await;
        token
    }

    async fn send_with_token(&mut self, request: &Request, token: Vec<u8>) {
        self.message_id_last += 1;
        let mut packet = Packet::new();
        packet.header.set_type(if request.confirmable {
            MessageType::Confirmable
        } else {
            MessageType::NonConfirmable
        });
        packet.header.code = MessageClass::Request(request.method);
        packet.header.message_id = self.message_id_last;
        packet.set_token(token);
        for segment in &request.path {
            packet.add_option(CoapOption::UriPath, segment.as_bytes().to_vec());
        }
        for parameter in self.identity.iter().chain(&request.query) {
            packet.add_option(CoapOption::UriQuery, parameter.as_bytes().to_vec());
        }
        for (option, value) in &request.options {
            packet.add_option(*option, value.clone());
        }
        packet.payload = request.payload.clone();
        self.send_raw(&packet.to_bytes_unlimited().expect("options with values")).await;
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.send(bytes).await.expect("the gateway's port is open");
    }

    /// The response to the request with this token.
    async fn response(&mut self, token: &[u8]) -> Response {
        self.take("a response", |response| response.packet.get_token() == token).await
    }

    /// The next notification, acknowledged if it is confirmable, and the topic that is observed.
    pub async fn notification(&mut self) -> (String, Response) {
        let observed = self.observed.clone();
        let response = self.take("a notification", |response| observed.contains_key(response.packet.get_token())).await;
        (observed[response.packet.get_token()].clone(), response)
    }

    /// Waits for a message that `wanted` takes; others stay for later.
    pub async fn take(&mut self, what: &str, wanted: impl Fn(&Response) -> bool) -> Response {
        loop {
            if let Some(at) = self.early.iter().position(&wanted) {
                return self.early.remove(at).expect("it was just found");
            }
            match timeout(PATIENCE, self.read()).await {
                Ok(response) => self.early.extend(response),
                Err(_) => panic!("{what} wanted, but only {:02x?} came", self.early),
            }
        }
    }

    /// The next message that means something: not an acknowledgement alone, and nothing twice.
    async fn read(&mut self) -> Option<Response> {
        let mut buffer = vec![0; 65_535];
        let count = self.socket.recv(&mut buffer).await.expect("the gateway's port is open");
        let response = Response::read(&buffer[..count]);
        let id = response.packet.header.message_id;
        if response.kind == MessageType::Acknowledgement && response.code == 0 {
            return None;
        }
        if response.kind == MessageType::Confirmable {
            let [high, low] = id.to_be_bytes();
            let first = if std::mem::take(&mut self.resets) { 0x70 } else { 0x60 };
            self.send_raw(&[first, 0, high, low]).await;
            if self.seen_ids.contains(&id) {
                return None;
            }
            self.seen_ids.push(id);
        }
        Some(response)
    }
}

impl Endpoint for Coap {
    const NAME: &'static str = "coap";

    fn listen(config: &mut Config) {
        listen_udp(config, ListenerProtocol::Coap);
    }

    async fn connect(gateway: &TestGateway, client_id: &str) -> Self {
        let mut client = Self::open(gateway).await;
        client.open_connection(client_id).await;
        client
    }

    async fn subscribe(&mut self, filter: &str, qos: u8) {
        let response = self.observe(filter, &[&format!("qos={qos}")]).await;
        assert_eq!(response.code, 205, "{response:?}");
        assert!(response.number(CoapOption::Observe).is_some(), "the observation was not taken: {response:?}");
        // The first representation is the retained message, if there is one.
        if response.option(CoapOption::ETag).is_some() {
            self.early.push_back(response);
        }
    }

    async fn publish(&mut self, publication: Publication<'_>) {
        let Publication { topic, payload, qos, retain } = publication;
        let mut request = Request::topic(RequestType::Put, topic).payload(payload);
        // Non-confirmable is 0 and confirmable is 1, and 2 has a parameter.
        request.confirmable = qos > 0;
        if qos == 2 {
            request = request.query("qos=2");
        }
        if retain {
            request = request.query("retain=true");
        }
        let response = self.request(&request).await;
        assert_eq!(response.code, 204, "{response:?}");
    }

    async fn expect(&mut self) -> Arrived {
        let (topic, response) = self.notification().await;
        assert_eq!(response.code, 205, "{response:?}");
        let qos = match response.kind {
            MessageType::NonConfirmable => Some(0),
            MessageType::Confirmable => Some(1),
            _ => None,
        };
        Arrived { topic, payload: response.packet.payload, seen: Seen { qos, retain: None } }
    }

    fn seen(qos: u8, retain: bool) -> Seen {
        // A retained message is in the answer to GET, which is acknowledged with it.
        Seen { qos: (!retain).then_some(qos.min(1)), retain: None }
    }
}
