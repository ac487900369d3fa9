//! What a sandbox reaches, and who reaches it.

use crate::support::{World, as_hythe, egress};
use hythe_sandbox::{Egress, Network};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

/// A port of the machine that answers "secret" to whoever comes.
fn secret_server(address: &str) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"secret\n");
        }
    });
    address
}

/// The address by which this machine reaches others. Nothing is sent.
fn own_address() -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect("198.51.100.1:9").unwrap();
    socket.local_addr().unwrap().ip().to_string()
}

#[test]
fn the_machine_its_networks_and_the_metadata_service_are_out_of_reach() {
    as_hythe("network::the_machine_its_networks_and_the_metadata_service_are_out_of_reach", || async {
        let world = World::new("closed").await;
        let port = secret_server("0.0.0.0").port();
        let own = own_address();
        let script = format!(
            "for target in '127.0.0.1 {port}' '{own} {port}' '169.254.169.254 80' '10.255.255.53 53' '192.168.1.1 80' \
             '172.16.0.1 80' '100.64.0.1 80' '224.0.0.1 80' 'fd00::2 {port}' 'fe80::1 80' '::ffff:127.0.0.1 {port}'; do \
             echo \"$target: $(nc -w 3 $target </dev/null 2>&1 | head -1)\"; done; \
             grep -c . /proc/net/dev; cat /etc/resolv.conf"
        );
        let mut spec = world.script("closed", &script);
        spec.network = egress();
        let begun = Instant::now();
        let (_, text) = world.run(spec).await;
        println!("{text}");
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains("169.254.169.254 80:"), "{text}");
        assert!(begun.elapsed() < Duration::from_secs(15), "closed networks are refused, not waited for");
        world.end().await;
    });
}

#[test]
fn names_resolve_and_the_way_out_is_open() {
    as_hythe("network::names_resolve_and_the_way_out_is_open", || async {
        let world = World::new("open").await;
        // Whatever the machine itself can resolve and reach; a machine without a network proves nothing here.
        let host = "index.crates.io";
        let Some(address) =
            std::net::ToSocketAddrs::to_socket_addrs(&(host, 443)).ok().and_then(|mut all| all.next())
        else {
            println!("skipped: this machine resolves no names");
            return world.end().await;
        };
        if std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5)).is_err() {
            println!("skipped: this machine has no way out");
            return world.end().await;
        }
        let script = format!("nslookup {host} 2>&1; nc -w 5 {host} 443 </dev/null 2>&1; echo connected $?");
        let mut spec = world.script("open", &script);
        spec.network = egress();
        let (_, text) = world.run(spec).await;
        assert!(text.contains(&address.ip().to_string()) && text.contains("connected 0"), "{text}");
        let mut spec = world.script("off", &script);
        spec.network = Network::Private { egress: Egress::default() };
        let (_, text) = world.run(spec).await;
        assert!(text.contains("connected 1"), "{text}");
        world.end().await;
    });
}

#[test]
fn dialling_reaches_a_server_inside_at_once_and_many_times_at_a_time() {
    as_hythe("network::dialling_reaches_a_server_inside_at_once_and_many_times_at_a_time", || async {
        let world = World::new("dial").await;
        let mut serving = Vec::new();
        for (id, network) in [("a", Network::None), ("b", egress())] {
            let mut spec = world
                .script(id, &format!("echo {id} > /tmp/index.html; exec httpd -f -p 127.0.0.1:8000 -h /tmp"));
            spec.network = network;
            serving.push(world.start(spec).await);
        }
        for sandbox in &serving {
            let begun = Instant::now();
            while sandbox.dial(8000).await.is_err() {
                assert!(begun.elapsed() < Duration::from_secs(10), "the server inside does not listen");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // The same port in both, and each answers for itself.
            let answer = get(sandbox.dial(8000).await.unwrap());
            assert!(answer.ends_with(&format!("{}\n", sandbox.id())), "{answer}");
            let refused = sandbox.dial(8001).await.unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        // Where nobody listens nobody is busy either: this is the time that dialling itself takes.
        let begun = Instant::now();
        for _ in 0..200 {
            assert!(serving[0].dial(8001).await.is_err());
        }
        println!("dial: {:?} each", begun.elapsed() / 200);
        assert!(begun.elapsed() / 200 < Duration::from_millis(10));
        let dials = (0..100).map(|number| {
            let sandbox = serving[number % 2].clone();
            tokio::spawn(async move { get(sandbox.dial(8000).await.unwrap()).len() })
        });
        for dial in dials.collect::<Vec<_>>() {
            assert!(dial.await.unwrap() > 0);
        }
        // Neither reaches the other: its own loopback is all it has.
        let mut spec = world.script("c", "nc -w 2 127.0.0.1 8000 </dev/null 2>&1; echo code $?");
        spec.network = egress();
        let (_, text) = world.run(spec).await;
        assert!(text.contains("code 1"), "{text}");
        serving[0].kill().await.unwrap();
        serving[0].wait().await.unwrap();
        assert!(serving[0].dial(8000).await.is_err());
        world.end().await;
    });
}

fn get(stream: std::net::TcpStream) -> String {
    stream.set_nonblocking(false).unwrap();
    let mut stream = stream;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn private_networks_open_only_where_the_operator_says_so() {
    as_hythe("network::private_networks_open_only_where_the_operator_says_so", || async {
        let world = World::new("allow").await;
        let script = "nc -w 2 10.255.255.254 9 </dev/null 2>&1 | head -1; echo done";
        let run = async |id: &str, allow: Vec<String>| {
            let mut spec = world.script(id, script);
            spec.network =
                Network::Private { egress: Egress { enabled: true, allow_private: allow, dns: Vec::new() } };
            let begun = Instant::now();
            let (_, text) = world.run(spec).await;
            (text, begun.elapsed())
        };
        let (closed, _) = run("closed", Vec::new()).await;
        assert!(
            closed.contains("Permission denied")
                || closed.contains("prohibited")
                || closed.contains("unreachable")
                || closed.contains("No route"),
            "{closed}"
        );
        let (open, _) = run("opened", vec!["10.255.255.0/24".into()]).await;
        assert_ne!(closed, open);
        let mut spec = world.script("bad", script);
        spec.network = Network::Private {
            egress: Egress {
                enabled: true,
                allow_private: vec!["10.0.0.0/8 accept; ".into()],
                dns: Vec::new(),
            },
        };
        let error = world.helper.run(spec, crate::support::to_null()).await.unwrap_err();
        assert!(error.to_string().contains("is not a network"), "{error}");
        world.end().await;
    });
}
