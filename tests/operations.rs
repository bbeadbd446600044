//! What is shipped for operators: the runbook, the alerts, the dashboard. That each is sound by itself,
//! and that they speak of metrics, headings and panels that exist.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use crate::harness::{App, Origin, Output, Redis, SOON, file, promtool, wait_until};

const RUNBOOK: &str = "docs/OPERATIONS.md";
const RULES: &str = "packaging/prometheus/evenkeel.rules.yml";
const RULE_TESTS: &str = "packaging/prometheus/evenkeel.rules.test.yml";
const PROMETHEUS: &str = "packaging/prometheus/prometheus.yml";
const DASHBOARD: &str = "packaging/grafana/evenkeel.json";

fn read(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[track_caller]
fn assert_promtool_takes(arguments: &[&str]) {
    let output = Output::of(&mut promtool(arguments));
    assert_eq!(
        output.code,
        Some(0),
        "{arguments:?}: {}{}",
        output.out,
        output.err
    );
}

fn path_of(name: &str) -> String {
    file(name).to_string_lossy().into_owned()
}

/// The alerts with everything that is said of each.
fn alerts() -> Vec<(String, String)> {
    let rules = read(RULES);
    let of_each = rules.split("- alert: ").skip(1);
    of_each
        .map(|text| {
            let name = text.lines().next().unwrap_or_default();
            (name.to_owned(), text.to_owned())
        })
        .collect()
}

/// What follows `key: ` in an alert.
fn said<'a>(alert: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = alert.lines().map(str::trim);
    lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
}

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).expect("JSON")
}

fn panels() -> Vec<Value> {
    let dashboard = dashboard();
    dashboard["panels"].as_array().expect("a list").clone()
}

/// Every expression of the dashboard, as Prometheus gets it.
fn expressions() -> Vec<String> {
    let dashboard = dashboard();
    let targets = panels();
    let targets = targets
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let annotations = dashboard["annotations"]["list"].as_array().expect("a list");
    let all = targets.flatten().chain(annotations);
    all.map(|target| {
        let expression = target["expr"].as_str().expect("an expression");
        expression.replace("$__rate_interval", "5m")
    })
    .collect()
}

/// The names in an expression that can be ours.
fn names(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let is_ours = |word: &&str| word.starts_with("evenkeel") || word.starts_with("process_");
    // `job="evenkeel"` is no metric.
    let of_metrics = words.filter(is_ours).filter(|word| *word != "evenkeel");
    of_metrics.map(str::to_owned).collect()
}

/// The page of an app that has done a little of everything: families without a sample are not on it.
fn page() -> String {
    let (redis, origin) = (Redis::start(), Origin::start());
    let app = App::with(&redis, &origin).connect();
    app.value("a");
    wait_until(SOON, "it is written", || redis.value("a").is_some());
    app.get("/no/such/path");
    app.admin("/metrics").text()
}

#[test]
fn prometheus_takes_the_rules_and_the_configuration() {
    assert_promtool_takes(&["check", "rules", &path_of(RULES)]);
    assert_promtool_takes(&["check", "config", &path_of(PROMETHEUS)]);
}

#[test]
fn every_alert_is_shown_firing_and_not_firing() {
    assert_promtool_takes(&["test", "rules", &path_of(RULE_TESTS)]);
    let tests = read(RULE_TESTS);
    for (alert, _) in alerts() {
        let fires = format!("alertname=\"{alert}\"");
        assert!(tests.contains(&fires), "no test shows {alert}");
    }
}

#[test]
fn every_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on() {
    let runbook = read(RUNBOOK);
    let headings = runbook.lines().filter(|line| line.starts_with('#'));
    let anchors: BTreeSet<_> = headings.map(anchor).collect();
    let alerts = alerts();
    assert!(alerts.len() >= 12, "{}", alerts.len());
    for (name, alert) in &alerts {
        for key in ["expr", "summary", "description"] {
            assert!(said(alert, key).is_some(), "{name} has no {key}");
        }
        let severity = said(alert, "severity");
        assert!(
            matches!(severity, Some("critical" | "warning")),
            "{name}: {severity:?}"
        );
        let place = said(alert, "runbook").and_then(|place| place.strip_prefix(RUNBOOK));
        let place = place.and_then(|place| place.strip_prefix('#'));
        let is_there = place.is_some_and(|place| anchors.contains(place));
        assert!(is_there, "{name}: {place:?} is none of {anchors:?}");
        assert!(runbook.contains(name), "{name} is not in the runbook");
    }
}

/// The anchor that GitHub gives to a heading.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let of_anchors = words.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ => c.is_alphanumeric().then_some(c),
    });
    of_anchors.collect()
}

#[test]
fn rules_and_dashboard_use_metrics_that_exist_and_the_runbook_names_them_all() {
    let page = page();
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let mut known: BTreeSet<_> = samples
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect();
    assert!(known.len() > 40, "{page}");
    let rules = read(RULES);
    let recorded = rules.lines().filter_map(|line| {
        let line = line.trim().trim_start_matches("- ");
        line.strip_prefix("record: ").map(str::to_owned)
    });
    known.extend(recorded);
    let text = rules
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    // What is said of an alert may hold other words of ours.
    let is_spoken = |line: &&str| {
        let spoken = ["summary:", "description:", "runbook:", "- name:"];
        spoken.iter().any(|key| line.trim().starts_with(key))
    };
    let used = text.filter(|line| !is_spoken(line)).map(str::to_owned);
    for expression in used.chain(expressions()) {
        for name in names(&expression) {
            assert!(
                known.contains(&name),
                "no {name} on the page: {expression}\n{page}"
            );
        }
    }
    let runbook = read(RUNBOOK);
    for family in page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
    {
        let named = format!("`{family}");
        assert!(runbook.contains(&named), "{family} is not in {RUNBOOK}");
    }
}

#[test]
fn every_expression_of_the_dashboard_parses() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dashboard.rules.yml");
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (n, expression) in expressions().iter().enumerate() {
        let quoted = Value::from(expression.as_str());
        let _ = writeln!(
            rules,
            "      - record: dashboard:{n}\n        expr: {quoted}"
        );
    }
    std::fs::write(&path, rules).expect("a file of ours");
    assert_promtool_takes(&["check", "rules", &path.to_string_lossy()]);
}

#[test]
fn the_dashboard_can_be_imported_and_every_panel_is_whole() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(30));
    assert!(dashboard["__inputs"].is_array() && dashboard["uid"] == "evenkeel");
    let variables = dashboard["templating"]["list"].as_array().expect("a list");
    let variables: Vec<_> = variables.iter().map(|variable| &variable["name"]).collect();
    assert_eq!(variables, ["datasource", "job", "instance"]);
    let panels = panels();
    let (rows, panels): (Vec<_>, Vec<_>) =
        panels.into_iter().partition(|panel| panel["type"] == "row");
    assert!(rows.len() >= 8 && panels.len() >= 30, "{}", panels.len());
    let ids = rows.iter().chain(&panels).map(|panel| panel["id"].as_u64());
    let distinct: BTreeSet<_> = ids.collect();
    assert_eq!(distinct.len(), rows.len() + panels.len());
    for panel in &panels {
        let title = panel["title"].as_str().expect("a title");
        let defaults = &panel["fieldConfig"]["defaults"];
        assert!(defaults["unit"].is_string(), "{title} has no unit");
        assert!(
            defaults["thresholds"]["steps"].is_array(),
            "{title} has no thresholds"
        );
        for target in panel["targets"].as_array().expect("targets") {
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            assert!(!legend.is_empty(), "{title} has no legend");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
    }
    assert_no_overlap(rows.iter().chain(&panels));
}

fn assert_no_overlap<'a>(panels: impl Iterator<Item = &'a Value>) {
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |side: &str| panel["gridPos"][side].as_u64().expect("a place");
        assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{} overlaps", panel["title"]);
            }
        }
    }
}
