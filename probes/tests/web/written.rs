//! What is wrong with a configuration is told with its place.

use crate::common::faults;

#[test]
fn faults_are_told_with_their_places() {
    let check = |yaml: &str, expected: &str| assert_eq!(faults(yaml), expected, "{yaml}");
    check("http: {method: GET}", "test.yml:1:7: `url` is missing");
    check(
        "http: {method: GET, steps: [{url: 'http://x/'}]}",
        "test.yml:1:29: `method` and `steps` do not go together\n  help: write it into a step, or take the steps away",
    );
    check(
        "http: {steps: [{name: a, url: 'http://x/'}, {name: a, url: 'http://x/${tok}', extract: {tok: {header: a}}}]}",
        "test.yml:1:52: there is a step `a` already\n\
         test.yml:1:60: no step before this one extracts `tok`\n  help: write `$${` for a plain `${`",
    );
    check(
        "http: {steps: [{url: 'http://x/', body_contains: ['${a}'], body: '${b}'}]}",
        "test.yml:1:50: no step before this one extracts `a`\n  help: write `$${` for a plain `${`\n\
         test.yml:1:66: no step before this one extracts `b`\n  help: write `$${` for a plain `${`",
    );
    check(
        "http: {steps: [{url: 'http://x/', extract: {'a b': {regex: x}, c: {}, d: {json: '$..'}}}]}",
        "test.yml:1:52: `a b` is not a name\n  help: write letters, digits and `_`\n\
         test.yml:1:67: `c` needs one of `json`, `header` and `regex`\n\
         test.yml:1:81: `$..` is not a path\n  \
         help: write it like `$.orders[0].state`, `$['a b']`, `$.items[*].ok` or `$.x.length()`",
    );
    check(
        "http: {url: 'http://x/', oauth2: {client_id: a, token_url: b}, basic_auth: {username: a, password: b}}",
        "test.yml:1:34: only one of `basic_auth`, `authorization` and `oauth2` can be given",
    );
    check(
        "http: {url: 'http://x/', proxy: {url: 'https://p/', no_proxy: [a b]}, ip_version: 5}",
        "test.yml:1:39: a proxy is spoken to without TLS\n  \
         help: write it like `http://proxy.example:3128`; what goes to https pages is encrypted all the way\n\
         test.yml:1:39: the port of the proxy is missing\n\
         test.yml:1:64: `a b` of what goes without the proxy is no name and no network\n  help: write it like `shop.example`, `10.0.0.1`, `10.0.0.0/8` or `*`\n\
         test.yml:1:83: `5` is none of `4`, `6` and `any`",
    );
    check(
        "http: {url: 'http://x/', compression: zip, thresholds: {procesing: {}}, json: [{path: a, warn: x}]}",
        "test.yml:1:39: `zip` is none of `gzip`, `br`, `deflate` and `none`\n\
         test.yml:1:68: no value `procesing` is measured\n  help: did you mean `processing`?\n\
         test.yml:1:96: `x` is not a range; write it like `10`, `10:`, `~:10`, `10:20` or `@10:20`",
    );
}

#[test]
fn no_secret_is_shown() {
    for yaml in [
        "http: {url: 'http://x/', method: POST, body: 'p=hunter2'}",
        "http: {url: 'http://x/', headers: {x-key: hunter2}}",
        "http: {url: 'http://x/', authorization: {credentials: hunter2}}",
        "http: {url: 'http://x/', proxy: {url: 'http://p:1', basic_auth: {username: u, password: hunter2}}}",
        "http: {url: 'http://x/', oauth2: {client_id: a, client_secret: hunter2, token_url: 'http://x/'}}",
        "http: {url: 'http://x/', oauth2: {client_id: a, client_secret: b, token_url: 'http://x/', \
         endpoint_params: {password: hunter2}}}",
    ] {
        let mut diagnostics = base::diagnostic::Diagnostics::new("test.yml");
        let config: Option<probes::ProbeConfig> = base::yaml::read(yaml, &mut diagnostics);
        let shown = format!("{config:?} {:?}", crate::common::probe(yaml));
        assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMg"), "{shown}");
    }
}
