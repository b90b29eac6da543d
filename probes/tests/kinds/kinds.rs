//! A row for each kind: how it is configured, and what its server says.

/// How a server that speaks a protocol begins, and what is asked of it.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// The configuration, in which `ADDRESS` stands for `host:port`.
    pub(crate) yaml: &'static str,
    /// What a server says first, on its own or when it is asked: the start of it is right, but
    /// there is more to come.
    pub(crate) begins: &'static [u8],
    /// Whether the server waits to be asked.
    pub(crate) is_asked: bool,
    /// What makes a TLS handshake of it, where it can have one: put in place of `, tls: {}`.
    pub(crate) before_tls: Option<&'static [u8]>,
    /// How many bytes ask for TLS after that.
    pub(crate) asks_tls: usize,
}

const fn plain(name: &'static str, yaml: &'static str, begins: &'static [u8]) -> Kind {
    Kind { name, yaml, begins, is_asked: false, before_tls: None, asks_tls: 0 }
}

const fn over_tls(name: &'static str, yaml: &'static str, begins: &'static [u8]) -> Kind {
    Kind { before_tls: Some(b""), ..plain(name, yaml, begins) }
}

const fn asked(kind: Kind) -> Kind {
    Kind { is_asked: true, ..kind }
}

/// The greeting of a MySQL server that offers TLS.
const MYSQL: &[u8] = b"\x2f\0\0\0\x0a8\0\x01\0\0\0abcdefgh\0\xff\xff\x21\x02\0\xff\xff\0\0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0";

/// Every kind that opens a connection.
pub(crate) const KINDS: &[Kind] = &[
    over_tls("tcp", "tcp: {address: 'ADDRESS', tls: {}, query_response: [{expect: ^220}]}", b"22"),
    asked(plain("dns", "dns: {servers: ['ADDRESS'], name: a.test, transport: tcp}", b"\0\x30")),
    over_tls("tls", "tls: {address: 'ADDRESS', tls: {}}", b"\x16\x03\x03"),
    plain("tls", "tls: {address: 'ADDRESS', tls: {}, starttls: smtp}", b"220-"),
    plain("tls", "tls: {address: 'ADDRESS', tls: {}, starttls: imap}", b"* OK"),
    plain("tls", "tls: {address: 'ADDRESS', tls: {}, starttls: pop3}", b"+OK"),
    plain("tls", "tls: {address: 'ADDRESS', tls: {}, starttls: ftp}", b"220-"),
    Kind {
        before_tls: Some(b"S"),
        ..asked(plain("tls", "tls: {address: 'ADDRESS', tls: {}, starttls: postgres}", b""))
    },
    Kind {
        before_tls: Some(MYSQL),
        asks_tls: 36,
        ..plain("tls", "tls: {address: 'ADDRESS', tls: {}, starttls: mysql}", b"\x4a\0\0\0\x0a")
    },
    Kind {
        before_tls: Some(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0"),
        ..asked(plain(
            "tls",
            "tls: {address: 'ADDRESS', tls: {}, starttls: ldap}",
            b"\x30\x0c\x02\x01\x01\x78",
        ))
    },
    over_tls("smtp", "smtp: {address: 'ADDRESS', tls: {}}", b"220-"),
    plain("smtp", "smtp: {address: 'ADDRESS', starttls: true}", b"220-"),
    over_tls("imap", "imap: {address: 'ADDRESS', tls: {}}", b"* OK"),
    over_tls("pop3", "pop3: {address: 'ADDRESS', tls: {}}", b"+OK"),
    plain("ssh", "ssh: {address: 'ADDRESS'}", b"SSH-2.0-x"),
    asked(plain("postgres", "postgres: {address: 'ADDRESS', username: u}", b"R\0\0\0\x08")),
    Kind {
        before_tls: Some(b"S"),
        ..asked(plain("postgres", "postgres: {address: 'ADDRESS', tls: {}, username: u}", b""))
    },
    plain("mysql", "mysql: {address: 'ADDRESS'}", b"\x4a\0\0\0\x0a"),
    Kind {
        before_tls: Some(MYSQL),
        asks_tls: 36,
        ..plain("mysql", "mysql: {address: 'ADDRESS', tls: {}}", b"")
    },
    asked(over_tls(
        "mongodb",
        "mongodb: {address: 'ADDRESS', tls: {}}",
        b"\x50\0\0\0\x07\0\0\0\x01\0\0\0\xdd\x07\0\0",
    )),
    asked(over_tls("mqtt", "mqtt: {address: 'ADDRESS', tls: {}}", b"\x20\x02\0")),
    // It lets us in, and begins a message.
    asked(plain(
        "mqtt",
        "mqtt: {address: 'ADDRESS', topic: a}",
        b"\x20\x02\0\0\x30\xff\x7f\xff\xff",
    )),
    asked(over_tls("amqp", "amqp: {address: 'ADDRESS', tls: {}}", b"\x01\0\0\0\0\0\x10\0\x0a")),
    plain("nats", "nats: {address: 'ADDRESS'}", b"INFO {"),
    plain(
        "nats",
        "nats: {address: 'ADDRESS', subject: a, request: b}",
        b"INFO {}\r\nPONG\r\nMSG a 1 999\r\n",
    ),
    Kind {
        before_tls: Some(b"INFO {}\r\n"),
        ..plain("nats", "nats: {address: 'ADDRESS', tls: {}}", b"")
    },
    asked(over_tls("ldap", "ldap: {address: 'ADDRESS', tls: {}}", b"\x30\x0c\x02\x01\x02\x61")),
    asked(plain("ldap", "ldap: {address: 'ADDRESS', starttls: true}", b"\x30\x0c\x02\x01\x01\x78")),
    asked(plain(
        "websocket",
        "websocket: {url: 'ws://ADDRESS/'}",
        b"HTTP/1.1 101 Switching Protocols\r\n",
    )),
    asked(over_tls("websocket", "websocket: {url: 'wss://ADDRESS/', tls: {}}", b"")),
    asked(plain("http", "http: {url: 'http://ADDRESS/'}", b"HTTP/1.1 200 OK\r\n")),
    asked(over_tls("http", "http: {url: 'https://ADDRESS/', tls: {}}", b"")),
    asked(plain("health", "health: {url: 'http://ADDRESS/'}", b"HTTP/1.1 200 OK\r\n")),
    asked(over_tls("health", "health: {url: 'https://ADDRESS/', tls: {}}", b"")),
    asked(plain(
        "prometheus",
        "prometheus: {url: 'http://ADDRESS/', series: [{select: up}]}",
        b"HTTP/1.1 200 OK\r\n",
    )),
    asked(over_tls(
        "prometheus",
        "prometheus: {url: 'https://ADDRESS/', tls: {}, series: [{select: up}]}",
        b"",
    )),
    // Settings, and the beginning of what follows them.
    asked(over_tls("grpc", "grpc: {address: 'ADDRESS', tls: {}}", b"\0\0\0\x04\0\0\0\0\0\0\0")),
    asked(over_tls("redis", "redis: {address: 'ADDRESS', tls: {}}", b"+PO")),
];

/// Every kind that sends datagrams; `begins` is a datagram that is cut.
pub(crate) const BY_DATAGRAM: &[Kind] = &[
    asked(plain("dns", "dns: {servers: ['ADDRESS'], name: a.test}", b"\0\0\x81\x80")),
    asked(plain("snmp", "snmp: {address: 'ADDRESS'}", b"\x30\x10\x02\x01")),
    asked(plain("snmp", "snmp: {address: 'ADDRESS', username: u}", b"\x30\x10\x02\x01")),
    asked(plain("ntp", "ntp: {server: 'ADDRESS'}", b"\x24\x02")),
];
