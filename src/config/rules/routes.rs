//! Routes beside each other and beside their sources: no two may match the same path, and each has a source.

use crate::config::report::Report;
use crate::config::rules::prefixes;
use crate::config::sections::route::{Draft, Route};
use crate::config::sections::server::Contract;
use crate::config::sections::source::Source;
use crate::config::wording::{either, suggestion};

/// Paths that are answered before any route.
const HEALTH_PATHS: [&str; 3] = ["/livez", "/readyz", "/healthz"];

/// Makes routes of the drafts, in their order.
pub(crate) fn resolve(
    mut drafts: Vec<Draft>,
    sources: &[Source],
    key_prefix: &str,
    contract: Contract,
    report: &mut Report,
) -> Vec<Route> {
    check_paths(&drafts, contract, report);
    for draft in &mut drafts {
        draft.source = source_index(draft, sources, report);
        draft.route.source = draft.source.unwrap_or_default();
    }
    prefixes::settle(&mut drafts, key_prefix, report);
    drafts.into_iter().map(|draft| draft.route).collect()
}

/// No route may stand in the way of another, of the health paths, or of Flask's own.
fn check_paths(drafts: &[Draft], contract: Contract, report: &mut Report) {
    let sound: Vec<&Draft> = drafts
        .iter()
        .filter(|draft| !report.spoiled(&draft.title(), "path"))
        .collect();
    for (index, draft) in sound.iter().enumerate() {
        let path = draft.pattern.to_string();
        let subject = report.key(&draft.title(), "path").showing(&path);
        let mut refuse = |why: String| report.mistake(subject.clone(), why);
        for path in HEALTH_PATHS {
            if draft.pattern.shadows(path) {
                refuse(format!("would match {path}, which tells the health"));
            }
        }
        if contract == Contract::Flask && draft.pattern.prefix.starts_with("/static/") {
            let why =
                "/static/ belongs to Flask itself, which serves files there (contract = flask)";
            refuse(why.to_owned());
        }
        for earlier in &sound[..index] {
            if let Some(path) = draft.pattern.clash(&earlier.pattern) {
                let title = earlier.title();
                refuse(format!("matches {path}, and so does [{title}]"));
            }
        }
    }
}

/// Index of the source that the draft names; none after a mistake.
fn source_index(draft: &Draft, sources: &[Source], report: &mut Report) -> Option<usize> {
    let title = draft.title();
    if report.spoiled(&title, "source") {
        return None;
    }
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    let subject = report.key(&title, "source");
    let (subject, why) = match (draft.source_name.as_str(), names.len()) {
        ("", 1) => return Some(0),
        ("", 0) => (
            subject,
            "there is no sound [source NAME] section".to_owned(),
        ),
        ("", count) => {
            let names = either(&names);
            (
                subject,
                format!("must be given, for there are {count} sources ({names})"),
            )
        }
        (given, _) => {
            if let Some(index) = names.iter().position(|name| *name == given) {
                return Some(index);
            }
            let near = suggestion(given, &names);
            (
                subject.showing(given),
                format!("names no [source NAME]{near}"),
            )
        }
    };
    report.mistake(subject, why);
    None
}

#[cfg(test)]
mod tests {
    use crate::config::{NO_ENVIRONMENT, parse};

    fn mistakes(text: &str) -> String {
        parse(text, "c.ini", NO_ENVIRONMENT)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_route_may_not_stand_in_the_way_of_health_or_of_flask() {
        let why = mistakes("[route data]\npath = /<key>\n");
        assert_eq!(why.lines().count(), 3, "{why}");
        assert!(why.contains("would match /livez"), "{why}");
        let files = "[route data]\npath = /static/<key>\n";
        assert!(mistakes(files).contains("/static/ belongs to Flask"));
        let fastapi = format!("[server]\ncontract = fastapi\n{files}");
        assert!(parse(&fastapi, "c.ini", NO_ENVIRONMENT).is_ok());
    }

    #[test]
    fn two_routes_may_not_match_the_same_path() {
        let text = "[route a]\npath = /x/<key>\n[route b]\npath = /<key>/y\n";
        let expected =
            "c.ini:4: [route b] path = \"/<key>/y\": matches /x/y, and so does [route a]";
        assert_eq!(mistakes(text), expected);
    }

    #[test]
    fn a_route_that_names_no_source_has_the_only_one() {
        let text = "[source one]\n[source two]\n[route a]\n";
        let expected =
            "c.ini:3: [route a] source: must be given, for there are 2 sources (one or two)";
        assert_eq!(mistakes(text), expected);
        let why = mistakes("[source items]\n[route a]\nsource = itmes\n");
        let expected =
            "c.ini:3: [route a] source = \"itmes\": names no [source NAME]; did you mean items?";
        assert_eq!(why, expected);
        let loaded = parse(
            "[source one]\n[route a]\nsource =\n",
            "c.ini",
            NO_ENVIRONMENT,
        );
        assert_eq!(loaded.unwrap().config.routes[0].source, 0);
    }
}
