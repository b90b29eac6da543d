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
}

const fn plain(name: &'static str, yaml: &'static str, begins: &'static [u8]) -> Kind {
    Kind { name, yaml, begins, is_asked: false, before_tls: None }
}

const fn over_tls(name: &'static str, yaml: &'static str, begins: &'static [u8]) -> Kind {
    Kind { before_tls: Some(b""), ..plain(name, yaml, begins) }
}

const fn asked(kind: Kind) -> Kind {
    Kind { is_asked: true, ..kind }
}

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
    over_tls("smtp", "smtp: {address: 'ADDRESS', tls: {}}", b"220-"),
    plain("smtp", "smtp: {address: 'ADDRESS', starttls: true}", b"220-"),
    over_tls("imap", "imap: {address: 'ADDRESS', tls: {}}", b"* OK"),
    over_tls("pop3", "pop3: {address: 'ADDRESS', tls: {}}", b"+OK"),
    plain("ssh", "ssh: {address: 'ADDRESS'}", b"SSH-2.0-x"),
    asked(over_tls("redis", "redis: {address: 'ADDRESS', tls: {}}", b"+PO")),
];

/// Every kind that sends datagrams; `begins` is a datagram that is cut.
pub(crate) const BY_DATAGRAM: &[Kind] =
    &[
    asked(plain("dns", "dns: {servers: ['ADDRESS'], name: a.test}", b"\0\0\x81\x80")),
    asked(plain("ntp", "ntp: {server: 'ADDRESS'}", b"\x24\x02")),
];
