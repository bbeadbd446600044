//! The contract, byte for byte: every vector made with the original services, in the order of its
//! file against one fresh app. `contract/README.md` says what a vector is.

use serde_json::Value;

use crate::harness::{App, NoResponse, Redis, Response, file};

#[test]
fn answers_every_vector_of_the_flask_original() {
    run("flask", "flask.jsonl");
}

#[test]
fn answers_every_vector_of_the_fastapi_original() {
    run("fastapi", "fastapi.jsonl");
}

#[test]
fn answers_every_further_vector_of_the_flask_original() {
    run("flask", "flask_more.jsonl");
}

#[test]
fn answers_every_further_vector_of_the_fastapi_original() {
    run("fastapi", "fastapi_more.jsonl");
}

/// Runs a file of vectors; all that differs is shown at once.
fn run(contract: &str, vectors: &str) {
    let mut redis = Redis::start();
    preset(&redis);
    let app = App::configured()
        .redis(&redis)
        .without_memory()
        .set("server", "contract", contract)
        .set("source demo", "latency", "0")
        .set("source demo", "fail_prefix", "boom")
        .connect();
    let mut is_down = false;
    let mut mismatches = Vec::new();
    let text = read(vectors);
    assert!(text.lines().count() > 50, "{vectors} holds too few vectors");
    for line in text.lines() {
        let vector: Value = serde_json::from_str(line).expect("a vector a line");
        if vector["redis"] == "down" && !is_down {
            redis.kill();
            is_down = true;
        }
        if let Err(differences) = check(&app, &vector) {
            mismatches.push(format!("{}: {differences}", vector["name"]));
        }
    }
    let count = mismatches.len();
    assert!(
        mismatches.is_empty(),
        "{count} vectors differ:\n{}",
        mismatches.join("\n")
    );
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file("tests/contract").join(name)).expect("a file of the repository")
}

/// Puts the values there that the vectors were made with.
fn preset(redis: &Redis) {
    let preset: Value = serde_json::from_str(&read("redis_preset.json")).expect("JSON");
    let entries = |name: &str| preset[name].as_object().expect("an object").clone();
    for (key, value) in entries("strings") {
        redis.set(&key, value.as_str().expect("a string"));
    }
    for (key, hex) in entries("bytes_hex") {
        let hex = hex.as_str().expect("a string");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let script = "return redis.call('SET', KEYS[1], cjson.decode(ARGV[1]))";
        // Bytes that are no text travel as a Lua string of escapes.
        let escaped: String = bytes.iter().map(|byte| format!("\\{byte:03}")).collect();
        let script = script.replace("cjson.decode(ARGV[1])", &format!("'{escaped}'"));
        redis.query::<()>(&["EVAL", &script, "1", &key]);
    }
    for (key, values) in entries("lists") {
        for value in values.as_array().expect("a list") {
            redis.query::<()>(&["RPUSH", &key, value.as_str().expect("a string")]);
        }
    }
}

fn check(app: &App, vector: &Value) -> Result<(), String> {
    let request = latin1(vector["request"].as_str().expect("bytes"));
    let wanted = vector["responses"].as_u64().expect("a number") as usize;
    let mut client = app.client();
    // A server that has refused already may have closed.
    let _ = client.try_send(&request);
    let mut methods = request
        .split(|&byte| byte == b'\n')
        .filter(|line| line.ends_with(b" HTTP/1.1\r"));
    let mut first = None;
    for number in 0..wanted {
        let is_head = methods
            .next()
            .is_some_and(|line| line.starts_with(b"HEAD "));
        match client.response(is_head) {
            Ok(response) => drop(first.get_or_insert(response)),
            Err(why) => return Err(format!("no response {number}: {why:?} {}", shown(&request))),
        }
    }
    let mut differences = match client.finish() {
        Ok(more) if more.is_empty() => Vec::new(),
        Err(NoResponse::TimedOut) => vec!["the connection does not end".to_owned()],
        more => vec![format!("more than {wanted} responses: {more:?}")],
    };
    differences.extend(
        first
            .map(|response| compare(&response, vector))
            .unwrap_or_default(),
    );
    if differences.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}\n    {}",
        shown(&request),
        differences.join("\n    ")
    ))
}

fn compare(response: &Response, vector: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    if vector["status"] != response.status {
        differences.push(format!(
            "status {}, wanted {}",
            response.status, vector["status"]
        ));
    }
    for (name, wanted) in vector["headers"].as_object().expect("an object") {
        let (value, wanted) = (response.field(name), wanted.as_str());
        let is_same = match name.as_str() {
            "allow" => value.map(sorted) == wanted.map(sorted),
            _ => value == wanted,
        };
        if !is_same {
            differences.push(format!("{name}: {value:?}, wanted {wanted:?}"));
        }
    }
    if let Some(wanted) = vector["body"].as_str()
        && !is_body(&response.body, &latin1(wanted))
    {
        let body = shown(&response.body);
        differences.push(format!("body {body}\n    wanted {wanted:?}"));
    }
    differences
}

/// Whether `body` is `wanted`, in which `{now}` stands for any time.
fn is_body(body: &[u8], wanted: &[u8]) -> bool {
    const NOW: &[u8] = b"{now}";
    let Some(at) = wanted.windows(NOW.len()).position(|bytes| bytes == NOW) else {
        return body == wanted;
    };
    let form = b"dddd-dd-dd dd:dd:dd.dddddd";
    let (before, after) = (&wanted[..at], &wanted[at + NOW.len()..]);
    let Some(time) = body
        .strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(after))
    else {
        return false;
    };
    let is_like = |(&byte, &form): (&u8, &u8)| match form {
        b'd' => byte.is_ascii_digit(),
        form => byte == form,
    };
    time.len() == form.len() && time.iter().zip(form).all(is_like)
}

fn sorted(list: &str) -> Vec<&str> {
    let mut words: Vec<_> = list.split(',').map(str::trim).collect();
    words.sort_unstable();
    words
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| u8::try_from(c).expect("latin-1"))
        .collect()
}

fn shown(bytes: &[u8]) -> String {
    let shown: String = bytes.escape_ascii().to_string();
    shown.chars().take(300).collect()
}
