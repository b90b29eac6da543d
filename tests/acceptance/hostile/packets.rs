//! What really leaves for targets that are refused, counted packet by packet: S2; X01, X02, X04 to X07.
//! The test runs in a network of its own, in which every address there is leads to a device that
//! counts.
//!
//! Invariant: nothing counts as "nothing was sent" unless what may be sent was seen by the same count.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use tests::http_server::{HttpServer, Reply};
use tests::program::Program;
use tests::{escaped, get, target, wait_until};

use crate::stage::{Kind, Running};

/// Set where a test runs in its own network.
const WITHIN: &str = "VEILLEUR_TEST_PACKETS";
/// The name server's, an address that is nobody's but the test's.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 78, 53);
/// Where the server is that everybody may look at.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// Where nobody may look: this host, and where clouds have their metadata.
const PRIVATE: [Ipv4Addr; 2] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(169, 254, 169, 254)];

const MODULES: &str = "modules:\n  http_2xx: {prober: http, timeout: 1s, http: {preferred_ip_protocol: ip4}}\n  \
                       tcp: {prober: tcp, timeout: 1s}\n  \
                       dns: {prober: dns, timeout: 1s, dns: {query_name: a.test, transport_protocol: tcp}}\n  \
                       dns_udp: {prober: dns, timeout: 1s, dns: {query_name: a.test}}\n  \
                       icmp: {prober: icmp, timeout: 1s}\n  grpc: {prober: grpc, timeout: 1s}\n  \
                       websocket: {prober: websocket, timeout: 1s}\n";
const ALL: [&str; 7] = ["http_2xx", "tcp", "dns", "dns_udp", "icmp", "grpc", "websocket"];

/// Runs the test called `name` in a network of its own; whether that is here.
fn is_within(name: &str) -> bool {
    if std::env::var_os(WITHIN).is_some() {
        return true;
    }
    let prepare = format!(
        "ip link set lo up && ip addr add {}/32 dev lo && \
         ip link add out0 type veth peer name out1 && ip link set out0 arp off && \
         ip addr add 198.51.100.1/24 dev out0 && ip addr add {PUBLIC}/32 dev out0 && \
         ip -6 addr add 2001:db8::1/64 dev out0 nodad && ip link set out0 up && ip link set out1 up && \
         ip route add default dev out0 && ip -6 route add default dev out0 && \
         echo 'nameserver {RESOLVER}' >/mnt/resolv.test && mount --bind /mnt/resolv.test /etc/resolv.conf && \
         exec \"$0\" --exact {name} --nocapture",
        PRIVATE[1]
    );
    let run = "mount -t tmpfs tmpfs /mnt && ";
    // Built while there is a network.
    tests::program::path_of("veilleur-agent");
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "bash", "-ec", &format!("{run}{prepare}")]);
    let done = command.arg(std::env::current_exe().unwrap()).env(WITHIN, "1").output().unwrap();
    let said = [done.stdout, done.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(done.status.success(), "{}", said.concat());
    assert!(said[0].contains("1 passed"), "{}", said[0]);
    false
}

/// Counts what leaves.
struct Count {
    file: PathBuf,
    _program: Program,
    /// What our own questions to the agent are sent to, and so do not count.
    agent: u16,
    /// How many lines are known.
    known: usize,
    marks: u16,
}

impl Count {
    fn start(folder: &Path, agent: u16) -> Self {
        let file = folder.join("packets");
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/acceptance/hostile/packets.py");
        let program = Program::start("python3", [Path::new(program), &file]);
        wait_until("packets are counted", || {
            std::fs::read_to_string(&file).is_ok_and(|text| text.starts_with("ready\n"))
        });
        Self { file, _program: program, agent, known: 1, marks: 0 }
    }

    /// What has left since it was asked before, but for what we say to the agent and questions to the
    /// name server.
    fn sent(&mut self) -> Vec<String> {
        // A packet of our own, behind which nothing is that left before.
        self.marks += 1;
        let mark = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        mark.send_to(b"mark", (Ipv4Addr::new(127, 0, 78, 1), self.marks)).unwrap();
        let end = format!(" 127.0.78.1 {}", self.marks);
        let mut lines = Vec::new();
        wait_until("the mark is counted", || {
            let text = std::fs::read_to_string(&self.file).unwrap();
            lines = text.lines().skip(self.known).map(str::to_owned).collect::<Vec<_>>();
            lines.iter().any(|line| line.ends_with(&end))
        });
        let at = lines.iter().position(|line| line.ends_with(&end)).unwrap();
        lines.truncate(at + 1);
        self.known += lines.len();
        let (agent, resolver) = (format!(" 127.0.0.1 {}", self.agent), format!(" {RESOLVER} 53"));
        lines.retain(|line| {
            // At either end.
            let ends = format!("{line} ");
            let is = |end: &str| ends.contains(&format!("{end} "));
            // What the kernel answers to the mark, which nobody hears.
            !is(&agent) && !is(&resolver) && !line.contains("127.0.78.1")
        });
        lines
    }
}

/// The connections among packets, by where they lead.
fn dialled(sent: &[String]) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for line in sent {
        if let [_, _, _, target, port, "0x02"] = line.split(' ').collect::<Vec<_>>()[..] {
            *count.entry(format!("{target}:{port}")).or_default() += 1;
        }
    }
    count
}

/// A name server whose answers go round: each name has a list of answers, each of them addresses.
struct Names(Arc<Mutex<BTreeMap<String, usize>>>);

impl Names {
    fn start() -> Self {
        let socket = UdpSocket::bind((RESOLVER, 53)).unwrap();
        let asked: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let theirs = Arc::clone(&asked);
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let question = &buffer[..length];
                let end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
                let name = &question[13..13 + usize::from(question[12])];
                let name = String::from_utf8_lossy(name).into_owned();
                let is_a = question[end - 4..end - 2] == [0, 1];
                let addresses = if is_a { Self::answer(&theirs, &name) } else { Vec::new() };
                let mut message = question[..2].to_vec();
                message.extend([0x81, 0x80, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
                message.extend(&question[12..end]);
                for address in addresses {
                    // A pointer to the name, A, IN, and a time to live of nothing.
                    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                    message.extend(address.octets());
                }
                let _ = socket.send_to(&message, from);
            }
        });
        Self(asked)
    }

    fn answer(asked: &Mutex<BTreeMap<String, usize>>, name: &str) -> Vec<Ipv4Addr> {
        let mut asked = asked.lock().unwrap();
        let turn = asked.entry(name.to_owned()).or_default();
        *turn += 1;
        let is_first = *turn % 2 == 1;
        match name {
            "local" if !is_first => vec![PRIVATE[0]],
            "metadata" if !is_first => vec![PRIVATE[1]],
            "both" if is_first => vec![PUBLIC, PRIVATE[0]],
            "both" => vec![PRIVATE[0], PUBLIC],
            // What redirects lead to.
            "always" => vec![PRIVATE[1]],
            _ => vec![PUBLIC],
        }
    }

    fn asked_for(&self, name: &str) -> usize {
        self.0.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

/// An agent to which everything is allowed that an address need not be listed for, and one that is.
fn agent(more: &str) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let modules = folder.path().join("blackbox.yml");
    std::fs::write(&modules, MODULES).unwrap();
    let config = format!(
        "host: {{enabled: false}}\nblackbox:\n  config: {}\n  \
         allow_targets: ['*', 0.0.0.0/0, '::/0', '127.0.0.1:7']\n{more}",
        modules.display()
    );
    Running::inside(Kind::Agent, &config, "exec \"$@\"", &[], folder)
}

fn probe(agent: &Running, module: &str, target: &str) -> (u16, String) {
    let path = format!("/probe?module={module}&target={}", escaped(target));
    get(&agent.url(&path)).unwrap()
}

#[test]
fn no_packet_leaves_for_a_target_that_is_refused_x01_x02_x05_x06() {
    if !is_within("packets::no_packet_leaves_for_a_target_that_is_refused_x01_x02_x05_x06") {
        return;
    }
    let agent = agent("");
    let mut count = Count::start(agent.folder.path(), agent.port);
    // First what may be looked at: it is counted, whichever device it leaves by.
    for (module, host, seen) in [
        ("http_2xx", "198.51.100.77", "tcp"),
        ("tcp", "203.0.113.7", "tcp"),
        ("tcp", "[2001:db8:1::7]", "tcp"),
        ("dns_udp", "203.0.113.8", "udp"),
        ("icmp", "203.0.113.9", "icmp"),
        ("tcp", "127.0.0.1", "tcp"),
    ] {
        let (status, text) = probe(&agent, module, &target(module, host, 7));
        assert!(status == 200 && text.contains("probe_success 0"), "{module} {host}: {text}");
        let (sent, bare) = (count.sent(), host.trim_matches(['[', ']']));
        let is_seen = |line: &String| line.starts_with(seen) && line.contains(&format!(" {bare}"));
        assert!(sent.iter().any(is_seen), "{module} {host}: {sent:?}");
    }
    let hosts = [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "0xa9fea9fe",
        "2852039166",
        "0251.0376.0251.0376",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::]",
        "[fd00:ec2::254]",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "017700000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
        "localhost",
        "100.100.100.200",
        "[fe80::1]",
        "224.0.0.1",
        "[ff02::1]",
        "255.255.255.255",
    ];
    for module in ALL {
        for host in hosts {
            let target = target(module, host, 80);
            let (status, text) = probe(&agent, module, &target);
            assert_eq!(status, 403, "{module} {target}: {text}");
        }
        for host in ["user@198.51.100.10", "shop.test.", "a b", "shop\u{3002}test", "-x", "h\\a"] {
            let target = target(module, host, 80);
            assert_eq!(probe(&agent, module, &target).0, 400, "{module} {target}");
        }
    }
    for module in ["../../etc/passwd", "%2e%2e%2f", "HTTP_2XX"] {
        assert_eq!(probe(&agent, module, "198.51.100.10:80").0, 400, "{module}");
    }
    let sent = count.sent();
    assert!(sent.is_empty(), "{sent:?}");
}

#[test]
fn a_name_that_changes_is_dialled_where_it_was_checked_x03_x04() {
    if !is_within("packets::a_name_that_changes_is_dialled_where_it_was_checked_x03_x04") {
        return;
    }
    let names = Names::start();
    // Who is dialled by mistake would be answered.
    let private = PRIVATE.map(|address| TcpListener::bind((address, 80)).unwrap());
    let public = HttpServer::start(|asked| {
        let host = asked.headers.get("host").map_or("", String::as_str);
        let to = match asked.path.as_str() {
            // To the same name, which by then leads elsewhere.
            "/again" => format!("http://{host}/secret"),
            "/always" => "http://always.test/secret".to_owned(),
            "/address" => "http://169.254.169.254/secret".to_owned(),
            "/disguised" => "http://2852039166/secret".to_owned(),
            "/here" => "http://127.0.0.1/secret".to_owned(),
            _ => return Reply::text("public"),
        };
        Reply::Answer(302, format!("location: {to}\r\n"), Vec::new())
    });
    // Port 80 of the public address is that server's.
    let door = TcpListener::bind((PUBLIC, 80)).unwrap();
    let behind = public.address();
    thread::spawn(move || {
        for client in door.incoming().map_while(Result::ok) {
            let server = std::net::TcpStream::connect(&behind).unwrap();
            for (mut from, mut to) in
                [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
            {
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    let agent = agent("");
    let mut count = Count::start(agent.folder.path(), agent.port);
    let mut dials = 0;
    let mut check = |count: &mut Count, what: &str, expected: usize| {
        let sent = count.sent();
        let dialled = dialled(&sent);
        let to = |host: Ipv4Addr| dialled.get(&format!("{host}:80")).copied().unwrap_or(0);
        for host in PRIVATE {
            assert_eq!(to(host), 0, "{what}: {sent:?}");
            // Nor by anything else than a connection.
            let pinged =
                |line: &&String| line.starts_with("icmp") && line.ends_with(&host.to_string());
            assert_eq!(sent.iter().filter(pinged).count(), 0, "{what}: {sent:?}");
        }
        assert_eq!(to(PUBLIC), expected, "{what}: {sent:?}");
        dials += expected;
    };
    for name in ["local", "metadata"] {
        for module in ["http_2xx", "tcp", "dns", "grpc", "websocket", "icmp"] {
            let target = target(module, &format!("{name}.test"), 80);
            // A name is asked for once for each look; so its first answer is dialled, and its second,
            // which is of another look, refused.
            let before = names.asked_for(name);
            let (status, text) = probe(&agent, module, &target);
            assert_eq!(status, 200, "{module} {target}: {text}");
            assert_eq!(names.asked_for(name), before + 1, "{module} {target}");
            check(&mut count, &format!("{module} {target}"), usize::from(module != "icmp"));
            let (status, text) = probe(&agent, module, &target);
            assert_eq!(status, 403, "{module} {target}: {text}");
            assert_eq!(names.asked_for(name), before + 2, "{module} {target}");
            check(&mut count, &format!("{module} {target}, refused"), 0);
        }
    }
    // Of two addresses one is chosen, checked and dialled: never the other one.
    for _ in 0..6 {
        let (status, text) = probe(&agent, "tcp", "both.test:80");
        assert!([200, 403].contains(&status), "{text}");
        check(&mut count, "two addresses", usize::from(status == 200));
    }
    for path in ["again", "always", "address", "disguised", "here"] {
        for name in ["local.test", "metadata.test", "198.51.100.10"] {
            if path == "again" && name == "198.51.100.10" {
                continue;
            }
            let (status, text) = probe(&agent, "http_2xx", &format!("http://{name}/{path}"));
            assert_eq!(status, 200, "{name} {path}: {text}");
            assert!(text.contains("probe_success 0\n"), "{name} {path}: {text}");
            let refused = ["bad-redirect", "target-not-allowed"]
                .map(|reason| format!("veilleur_probe_reason{{reason=\"{reason}\"}} 1\n"));
            assert!(refused.iter().any(|line| text.contains(line)), "{name} {path}: {text}");
            check(&mut count, &format!("{name} {path}"), 1);
            // The next look begins with the first answer again.
            if names.asked_for(name.trim_end_matches(".test")) % 2 == 1 {
                assert_eq!(probe(&agent, "tcp", &format!("{name}:80")).0, 403);
                check(&mut count, name, 0);
            }
        }
    }
    assert!(public.asked().iter().all(|asked| asked.path != "/secret"), "{:?}", public.asked());
    assert!(dials > 20, "{dials}");
    for listener in private {
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "somebody was dialled");
    }
}

#[test]
fn who_is_turned_away_causes_no_packet_x07() {
    if !is_within("packets::who_is_turned_away_causes_no_packet_x07") {
        return;
    }
    let agent = agent("  module_concurrency: 2\n");
    let mut count = Count::start(agent.folder.path(), agent.port);
    let path = format!("/probe?module=tcp&target={}", escaped("203.0.113.50:80"));
    let url = agent.url(&path);
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let url = url.clone();
            thread::spawn(move || get(&url).map(|(status, _)| status))
        })
        .collect();
    let answers: Vec<_> = asking.into_iter().map(|thread| thread.join().unwrap()).collect();
    let of = |wanted: u16| answers.iter().filter(|status| **status == Some(wanted)).count();
    assert!(of(429) > 50 && of(200) > 0, "{answers:?}");
    // Each look sends at most twice, as nobody answers within its second.
    let packets = count.sent().len();
    assert!((of(200)..=2 * of(200)).contains(&packets), "{packets}: {answers:?}");
}
