//! The configuration as a whole: what a file and an environment become, and what people read when
//! they are wrong.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const SHIPPED: &str = include_str!("../../config.ini");

fn good(text: &str) -> Loaded {
    good_with(text, &[])
}

fn good_with(text: &str, environment: &[(&str, &str)]) -> Loaded {
    parse(text, "config.ini", environment.iter().copied()).unwrap_or_else(|why| panic!("{why}"))
}

fn mistakes(text: &str) -> String {
    mistakes_with(text, &[])
}

fn mistakes_with(text: &str, environment: &[(&str, &str)]) -> String {
    parse(text, "config.ini", environment.iter().copied())
        .unwrap_err()
        .to_string()
}

#[test]
fn the_shipped_file_says_the_defaults() {
    let (shipped, empty) = (good(SHIPPED), good(""));
    assert_eq!(shipped.config, empty.config);
    assert_eq!((shipped.notes, empty.notes), (vec![], vec![]));
}

#[test]
fn the_shipped_file_explains_every_key() {
    for row in table() {
        let Row {
            section,
            key,
            default,
            allowed,
            about,
        } = row;
        let shown = if default.is_empty() { "none" } else { default };
        let comment = format!("# {about}\n#x# Allowed: {allowed}. Default: {shown}.\n#x{key} =");
        // The keys of the http source stand in an example, each line behind a #.
        let (plain, example) = (comment.replace("#x", ""), comment.replace("#x", "#"));
        let found = SHIPPED.contains(&format!("\n\n{plain}"))
            || SHIPPED.contains(&format!("\n\n#{example}"));
        assert!(
            found,
            "config.ini lacks [{section}] {key}:\n{plain} {default}"
        );
    }
}

#[test]
fn the_example_of_an_http_source_works() {
    let uncommented: String = SHIPPED
        .replace("source = demo", "source = items")
        .lines()
        .map(|line| {
            let hidden = line
                .strip_prefix('#')
                .filter(|rest| rest.starts_with(|c| c != ' '));
            format!("{}\n", hidden.unwrap_or(line))
        })
        .collect();
    let config = good(&uncommented).config;
    let url = HttpUrl {
        prefix: "http://127.0.0.1:8080/items/".to_owned(),
        suffix: String::new(),
        server: HostPort {
            host: "127.0.0.1".to_owned(),
            port: 8080,
        },
        user: None,
    };
    let expected = HttpSource {
        url,
        timeout: Duration::from_secs(5),
        max_body: 8 << 20,
        max_concurrent: 32,
    };
    assert_eq!(config.sources[1].kind, SourceKind::Http(expected));
    assert_eq!(config.routes[0].source, 1);
    assert_eq!(
        config.worst_case(&config.routes[0]),
        Duration::from_millis(5_500)
    );
}

#[test]
fn an_empty_file_is_the_original_service() {
    let config = good("").config;
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:5000");
    let address = RedisAddress::Tcp(HostPort {
        host: "127.0.0.1".to_owned(),
        port: 6379,
    });
    assert_eq!(config.redis.servers, Servers::Single { address, db: 0 });
    assert_eq!(
        (&config.redis.login, &config.redis.tls),
        (&Login::Nobody, &None)
    );
    assert_eq!(config.redis.pool_size, 34, "readers + workers");
    assert_eq!(
        (config.redis.timeout, config.breaker.fail_max),
        (Duration::from_millis(500), 5)
    );
    assert_eq!(config.memory.max_bytes, 64 << 20);
    let route = &config.routes[0];
    assert_eq!(
        (route.name.as_str(), route.prefix.as_str()),
        ("data", "/api/data/")
    );
    assert_eq!(
        (route.ttl.as_secs(), route.max_stale.as_secs()),
        (3_600, 86_400)
    );
    assert_eq!(config.worst_case(route), Duration::from_secs(1));
}

#[test]
fn every_mistake_is_told_at_once_with_its_line() {
    let text = "[redis]\ntimeot = 1s\ntimeout = 500\nreaders = many\n\n[sever]\nx = 1\n\
                [health]\nredis = fial\n[route data]\npath = /api/<string:key>\nttl = 0s\n";
    let environment = [
        ("EVENKEEL_SERVER_LISTEN", "5000"),
        ("EVENKEEL_REDIS_TIMEOT", "1s"),
    ];
    let expected = "\
config.ini:2: [redis] timeot: unknown key; did you mean timeout?
config.ini:3: [redis] timeout = \"500\": needs a unit: write 500ms or 500s (1ms to 60s)
config.ini:4: [redis] readers = \"many\": is not a whole number (1 to 64)
config.ini:6: section \"sever\" is unknown; did you mean [server]?
config.ini:9: [health] redis = \"fial\": is unknown; did you mean fail? (report or fail)
config.ini:11: [route data] path = \"/api/<string:key>\": the key is written <key>: write \
/api/<key> (a path with <key> as one whole segment, as in /api/data/<key>)
config.ini:12: [route data] ttl = \"0s\": is too short (1s to 365d in whole seconds)
EVENKEEL_REDIS_TIMEOT: fits no setting; did you mean EVENKEEL_REDIS_TIMEOUT?
EVENKEEL_SERVER_LISTEN: [server] listen = \"5000\": has no port (host:port, as in 0.0.0.0:5000 \
or [::]:5000; port 0 takes a free one)";
    assert_eq!(mistakes_with(text, &environment), expected);
}

#[test]
fn unknown_names_are_told_what_was_meant() {
    for (text, advice) in [
        ("[Server]\n", "did you mean [server]?"),
        ("[route]\n", "needs a name: write [route NAME]"),
        ("[server x]\n", "takes no name: write [server]"),
        ("[routes data]\n", "did you mean [route NAME]?"),
        ("[route a b]\n", "has a bad name: 1 to 64 letters"),
        ("[cache]\n", "known are [server] [redis]"),
        ("[redis]\nTIMEOUT = 1s\n", "did you mean timeout?"),
        (
            "[redis]\npassword = hunter2\n",
            "it is part of url; a password may also come from",
        ),
        ("[redis]\nttl = 5s\n", "it belongs to [route NAME]"),
        (
            "[redis]\ncolour = blue\n",
            "known here: mode, url, nodes, master",
        ),
        (
            "[server]\ntimeout = 5s\n",
            "it belongs to [redis] or [source NAME]",
        ),
    ] {
        let why = mistakes(text);
        assert!(
            why.contains(advice) && !why.contains("hunter2"),
            "{text}: {why}"
        );
        assert_eq!(why.lines().count(), 1, "{why}");
    }
}

#[test]
fn comments_and_quotes_in_values_are_pointed_out() {
    let why = mistakes("[redis]\ntimeout = 1s ; short\n[health]\nredis = \"fail\"\n");
    assert!(why.contains("a comment needs a line of its own"), "{why}");
    assert!(why.contains("quotes are part of the value"), "{why}");
    let notes = good("[redis]\nkey_prefix = app: # note\n").notes;
    assert!(notes[0].starts_with("config.ini:2: [redis] key_prefix = \"app: # note\": a comment"));
}

#[test]
fn the_environment_overrides_the_file_within_the_same_bounds() {
    let text = "[route my-data]\nttl = 5s\n[redis]\nkey_prefix = app:\ntimeout = nonsense\n";
    let environment = [
        ("EVENKEEL_ROUTE_MY_DATA_TTL", "7s"),
        ("EVENKEEL_REDIS_KEY_PREFIX", ""),
        ("EVENKEEL_REDIS_TIMEOUT", " 250ms "),
        ("EVENKEELX", "not ours"),
        ("PATH", "/bin"),
    ];
    let config = good_with(text, &environment).config;
    assert_eq!(config.routes[0].ttl, Duration::from_secs(7));
    assert_eq!(config.redis.key_prefix, "");
    assert_eq!(config.redis.timeout, Duration::from_millis(250));
    let why = mistakes_with("", &[("EVENKEEL_SOURCE_DEMO_LATENCY", "2h")]);
    let expected =
        "EVENKEEL_SOURCE_DEMO_LATENCY: [source demo] latency = \"2h\": is too long (0 to 60s)";
    assert_eq!(why, expected);
}

#[test]
fn a_variable_that_fits_nothing_is_told_what_would() {
    for (variable, advice) in [
        (
            "EVENKEEL_SERVER_LISTN",
            "did you mean EVENKEEL_SERVER_LISTEN?",
        ),
        (
            "EVENKEEL_REDIS_PASSWD",
            "did you mean EVENKEEL_REDIS_PASSWORD?",
        ),
        (
            "EVENKEEL_server_listen",
            "did you mean EVENKEEL_SERVER_LISTEN?",
        ),
        (
            "EVENKEEL_HEALTH_COLOUR",
            "fits no key of [health]; after EVENKEEL_HEALTH_ may come REDIS",
        ),
        ("EVENKEEL_COLOUR", "after EVENKEEL_ come section and key"),
        (
            "EVENKEEL_ROUTE_OTHER_TTL",
            "after EVENKEEL_ come section and key",
        ),
    ] {
        let why = mistakes_with("", &[(variable, "hunter2")]);
        assert!(why.starts_with(&format!("{variable}: fits no")), "{why}");
        assert!(why.contains(advice) && !why.contains("hunter2"), "{why}");
    }
}

#[test]
fn a_variable_that_fits_two_sections_is_refused() {
    let route = |name: &str, path: &str| format!("[route {name}]\npath = /{path}/<key>\n");
    let text = route("a", "1") + &route("a_key", "2");
    let loaded = good_with(&text, &[("EVENKEEL_ROUTE_A_KEY_PREFIX", "p:")]);
    assert_eq!(loaded.config.routes[0].key_prefix, "p:");
    let text = route("a-b", "1") + &route("a_b", "2");
    let why = mistakes_with(&text, &[("EVENKEEL_ROUTE_A_B_TTL", "5s")]);
    assert!(
        why.contains("fits [route a-b] and [route a_b]: rename all but one"),
        "{why}"
    );
}

#[test]
fn a_secret_is_shown_nowhere() {
    let secrets = ["hunter2", "alice"];
    let refused = [
        ("[redis]\nurl = redis://alice:hunter2@h:x/0\n", vec![]),
        ("[redis]\nurl = redis://alice:hunter2\n", vec![]),
        ("[redis]\nurl = redis:/alice:hunter2@h\n", vec![]),
        ("[redis]\nurll = redis://alice:hunter2@h\n", vec![]),
        ("[redis]\nurl redis://alice:hunter2@h\n", vec![]),
        ("[redis]\nredis://alice:hunter2=@h\n", vec![]),
        (
            "[redis]\nkey_prefix = redis://alice:hunter2@h\u{7}\n",
            vec![],
        ),
        ("[server]\nlisten = redis://alice:hunter2@h:6379\n", vec![]),
        (
            "[source a]\nkind = http\nurl = http://alice:hunter2@h:x/<key>\n",
            vec![],
        ),
        (
            "",
            vec![("EVENKEEL_REDIS_URL", "redis://alice:hunter2@h:x")],
        ),
        ("", vec![("EVENKEEL_REDIS_PASWORD", "hunter2")]),
        (
            "",
            vec![("EVENKEEL_SERVER_LISTEN", "redis://alice:hunter2@h:6379")],
        ),
    ];
    for (text, environment) in refused {
        let mistakes = parse(text, "config.ini", environment).unwrap_err();
        let shown = format!("{mistakes} {mistakes:?}");
        assert!(
            !secrets.iter().any(|secret| shown.contains(secret)),
            "{shown}"
        );
    }
    let text = "[redis]\nurl = redis://alice:hunter2@h # 1\n";
    assert!(!mistakes(text).contains("hunter2"));
    let set = [("EVENKEEL_REDIS_PASSWORD", "hunter2")];
    let loaded = good_with(
        "[redis]\nurl = redis://alice:hunter2@h\n[source a]\nkind = http\nurl = http://alice:hunter2@h/<key>\n",
        &set,
    );
    let (name, password) = ("alice".to_owned(), "hunter2".to_owned());
    assert_eq!(loaded.config.redis.login, Login::User { name, password });
    let shown = format!("{loaded:?}");
    assert!(
        !secrets.iter().any(|secret| shown.contains(secret)),
        "{shown}"
    );
    assert!(
        loaded.notes[0].contains("its password is not used"),
        "{shown}"
    );
}

#[test]
fn keys_of_another_kind_of_source_are_refused() {
    let text = "[source a]\nkind = http\nurl = http://h/<key>\nlatency = 1s\n";
    let expected =
        "config.ini:4: [source a] latency: belongs to kind = simulated; this source is kind = http";
    assert_eq!(mistakes(text), expected);
    let why = mistakes("[source a]\nkind = http\n");
    assert_eq!(
        why,
        "config.ini:1: [source a] url: must be given (http://host:port/path/<key>)"
    );
    assert_eq!(
        mistakes("[source a]\nkind = htp\nurl = http://h/<key>\n")
            .lines()
            .count(),
        1
    );
}

#[test]
fn a_request_that_could_outlast_its_limit_is_refused_with_the_sum() {
    let text = "[source api]\nkind = http\nurl = http://h/<key>\ntimeout = 10s\n[route data]\n";
    let expected = "config.ini:5: [route data]: a request can take 10.5s: [redis] timeout 500ms + \
                    [source api] timeout 10s; that is more than [server] request_timeout 10s: raise \
                    it to 10.5s or more, or lower one of the two";
    assert_eq!(mistakes(text), expected);
    good(&text.replace("10s", "9.5s"));
    let why = mistakes(&text.replace("10s", "9"));
    assert_eq!(
        why.lines().count(),
        1,
        "nothing is concluded from a bad value: {why}"
    );
}

#[test]
fn the_doors_of_clients_and_operators_are_two() {
    let listen = |text: &str| good(text).config.admin.listen;
    assert_eq!(listen(""), Some("127.0.0.1:5001".parse().unwrap()));
    assert_eq!(listen("[admin]\nlisten =\n"), None);
    let free = "[server]\nlisten = 127.0.0.1:0\n[admin]\nlisten = 127.0.0.1:0\n";
    assert!(listen(free).is_some(), "each takes a free port");
    for (server, admin) in [
        ("0.0.0.0:5001", "127.0.0.1:5001"),
        ("127.0.0.1:80", "[::]:80"),
    ] {
        let text = format!("[server]\nlisten = {server}\n[admin]\nlisten = {admin}\n");
        let why = mistakes(&text);
        assert!(why.contains("is the port of [server] listen"), "{why}");
    }
}

#[test]
fn limits_that_contradict_each_other_are_refused_or_noted() {
    let why = mistakes("[redis]\nreaders = 4\npool_size = 4\n");
    assert!(
        why.contains("pool_size = \"4\": is too small for readers = 4: 5 or more"),
        "{why}"
    );
    assert_eq!(
        good("[redis]\nreaders = 4\npool_size = 5\n")
            .config
            .redis
            .pool_size,
        5
    );
    let text = "[server]\ndrain_timeout = 5s\nmax_key = 8KiB\n[breaker]\nstall_calls = 1000\n";
    let notes = good(text).notes.join("\n");
    assert!(
        notes.contains("config.ini:2: [server] drain_timeout: 5s is shorter"),
        "{notes}"
    );
    assert!(
        notes.contains("[server] max_head: 16384 bytes can not hold"),
        "{notes}"
    );
    assert!(
        notes.contains("config.ini:5: [breaker] stall_calls: 1000 is never reached"),
        "{notes}"
    );
}

#[test]
fn a_breaker_that_is_held_by_hand_is_noted() {
    let notes = |mode| good(&format!("[breaker]\nmode = {mode}\n")).notes;
    assert!(notes("auto").is_empty());
    let held = notes("forced_open");
    let note = "config.ini:2: [breaker] mode = \"forced_open\": Redis is not used";
    assert!(held[0].starts_with(note), "{held:?}");
    assert_eq!(notes("disabled").len(), 1);
}

#[test]
fn a_given_file_is_read_or_the_reason_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.ini");
    let why = load(Some(&file), NO_ENVIRONMENT).unwrap_err().to_string();
    assert!(
        why.contains("own.ini: can not be read: No such file"),
        "{why}"
    );
    std::fs::write(&file, b"[server]\nqueue = \xff\n").unwrap();
    let why = load(Some(&file), NO_ENVIRONMENT).unwrap_err().to_string();
    assert!(why.contains("own.ini:2: is not UTF-8 (byte 0xFF)"), "{why}");
    std::fs::write(&file, b"\xef\xbb\xbf[log]\r\nfile = e.log\r\n").unwrap();
    let loaded = load(Some(&file), NO_ENVIRONMENT).unwrap();
    assert_eq!(loaded.config.log.file, Some(folder.path().join("e.log")));
    assert_eq!(loaded.origin, Some(file));
}

proptest! {
    #[test]
    fn no_text_makes_the_configuration_panic(
        lines in prop::collection::vec((any::<prop::sample::Index>(), "\\PC{0,30}"), 0..20),
    ) {
        // Known keys with any values; names to listen on are left out, they would be looked up.
        let rows: Vec<Row> = table().filter(|row| row.key != "listen").collect();
        let line = |(index, value): &(prop::sample::Index, String)| {
            let row = index.get(&rows);
            format!("[{}]\n{} = {value}\n", row.section, row.key)
        };
        let text: String = lines.iter().map(line).collect();
        let _ = parse(&text, "config.ini", NO_ENVIRONMENT);
    }
}
