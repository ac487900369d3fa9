use super::*;

fn descriptor(id: &str) -> Descriptor {
    let text = format!("api = \"0.12\"\n[buildpack]\nid = \"{id}\"\nversion = \"1\"\n");
    Descriptor::parse(&text).unwrap()
}

fn composite(id: &str, order: &str) -> Descriptor {
    Descriptor { order: order_of(order), ..descriptor(id) }
}

/// `a b?;c` is two groups: a with optional b, and c.
fn order_of(text: &str) -> Order {
    let element = |word: &str| GroupElement {
        id: word.trim_end_matches('?').parse().unwrap(),
        version: None,
        optional: word.ends_with('?'),
    };
    text.split(';').map(|g| Group { elements: g.split_whitespace().map(element).collect() }).collect()
}

fn pass(plan: &str) -> Verdict {
    Verdict::Pass(BuildPlan::parse(plan, crate::BuildpackApi::V0_12).unwrap())
}

struct Outcome {
    result: Result<Detected, DetectError>,
    runs: Vec<Vec<String>>,
    names: Vec<String>,
}

impl Outcome {
    fn group(&self) -> Vec<&str> {
        self.result.as_ref().unwrap().members.iter().map(|index| self.names[*index].as_str()).collect()
    }
}

fn detect(order: &str, composites: &[(&str, &str)], components: &[(&str, Verdict)]) -> Outcome {
    let mut store: Vec<_> = components.iter().map(|(id, _)| descriptor(id)).collect();
    store.extend(composites.iter().map(|(id, order)| composite(id, order)));
    let mut runs = Vec::new();
    let target = Target::default();
    let circumstances = Circumstances { store: &store, target: &target, exec_env: "production" };
    let result = resolve(&circumstances, &order_of(order), &mut |indexes| {
        runs.push(indexes.iter().map(|i| components[*i].0.to_owned()).collect());
        indexes.iter().map(|i| components[*i].1.clone()).collect()
    });
    Outcome { result, runs, names: store.iter().map(|d| d.id.to_string()).collect() }
}

const REQUIRES_A: &str = "requires = [{ name = \"a\" }]";
const PROVIDES_A: &str = "provides = [{ name = \"a\" }]";
const BOTH_A: &str = "provides = [{ name = \"a\" }]\nrequires = [{ name = \"a\" }]";

#[test]
fn the_first_group_that_passes_is_used_and_no_detect_runs_twice() {
    let outcome = detect("x y;x z?;y", &[], &[("x", pass("")), ("y", Verdict::Fail), ("z", Verdict::Fail)]);
    assert_eq!(outcome.group(), ["x"]);
    assert_eq!(outcome.runs, [vec!["x", "y"], vec!["z"]]);
}

#[test]
fn composites_expand_depth_first_before_what_follows() {
    let components = [("x", Verdict::Fail), ("y", pass("")), ("z", pass(""))];
    let outcome = detect("c z", &[("c", "x;d"), ("d", "y")], &components);
    assert_eq!(outcome.group(), ["y", "z"]);
    assert_eq!(outcome.runs, [vec!["x", "z"], vec!["y"]]);
}

#[test]
fn an_optional_composite_may_fail_whole() {
    let outcome = detect("c? z", &[("c", "x")], &[("x", Verdict::Fail), ("z", pass(""))]);
    assert_eq!(outcome.group(), ["z"]);
    let outcome = detect("c z", &[("c", "x")], &[("x", Verdict::Fail), ("z", pass(""))]);
    assert_eq!(outcome.result, Err(DetectError::NothingMatches));
}

#[test]
fn a_repeated_id_is_skipped() {
    let outcome = detect("x x y", &[], &[("x", pass("")), ("y", pass(""))]);
    assert_eq!(outcome.group(), ["x", "y"]);
}

#[test]
fn a_composite_that_names_itself_ends() {
    assert_eq!(detect("c", &[("c", "c")], &[]).result, Err(DetectError::TooDeep));
}

#[test]
fn a_broken_detect_is_told_apart_from_one_that_does_not_apply() {
    let broken = || Verdict::Broken("exit 1".into());
    let outcome = detect("x;y", &[], &[("x", broken()), ("y", Verdict::Fail)]);
    assert_eq!(outcome.result, Err(DetectError::Broken));
    assert_eq!(detect("x? y", &[], &[("x", broken()), ("y", pass(""))]).group(), ["y"]);
    assert_eq!(detect("x?", &[], &[("x", Verdict::Fail)]).result, Err(DetectError::NothingMatches));
}

#[test]
fn an_unknown_buildpack_is_named() {
    assert_eq!(detect("x", &[], &[]).result, Err(DetectError::Unknown("x".into())));
}

#[test]
fn requirements_need_a_provider_before_or_at_them() {
    let of = |x: &str, y: &str| detect("x y", &[], &[("x", pass(x)), ("y", pass(y))]).result;
    let good = of(PROVIDES_A, REQUIRES_A).unwrap();
    assert_eq!(good.plan.entries[0].providers, ["x".parse().unwrap()]);
    assert!(of(BOTH_A, "").is_ok());
    assert_eq!(of(REQUIRES_A, PROVIDES_A), Err(DetectError::NothingMatches));
    assert_eq!(of(PROVIDES_A, ""), Err(DetectError::NothingMatches));
    assert_eq!(of("", REQUIRES_A), Err(DetectError::NothingMatches));
}

#[test]
fn optional_buildpacks_are_dropped_until_the_plan_holds() {
    // Dropping y, which lacks b, leaves x's a unused, so x goes too.
    let y = "requires = [{ name = \"a\" }, { name = \"b\" }]";
    let components = [("x", pass(PROVIDES_A)), ("y", pass(y)), ("z", pass(""))];
    let outcome = detect("x? y? z", &[], &components);
    assert_eq!(outcome.group(), ["z"]);
    assert!(outcome.result.unwrap().plan.entries.is_empty());
}

#[test]
fn alternatives_are_tried_left_to_right() {
    let either = "provides = [{ name = \"b\" }]\n[[or]]\nprovides = [{ name = \"a\" }]\n[[or]]\n";
    let components = [("x", pass(either)), ("y", pass(REQUIRES_A))];
    let outcome = detect("x y", &[], &components).result.unwrap();
    assert_eq!(outcome.plan.entries.len(), 1);
    assert_eq!(outcome.plan.entries[0].name, "a");
}

#[test]
fn an_optional_buildpack_is_dropped_only_with_its_last_alternative() {
    // Both alternatives of x fit nowhere; the second, the last, lets x go.
    let x = "provides = [{ name = \"p\" }]\n[[or]]\nprovides = [{ name = \"q\" }]\n";
    assert_eq!(detect("x? y", &[], &[("x", pass(x)), ("y", pass(""))]).group(), ["y"]);
    // The first alternative fits: it is used, though dropping x would fit as well.
    let x = "[[or]]\nprovides = [{ name = \"q\" }]\n";
    assert_eq!(detect("x? y", &[], &[("x", pass(x)), ("y", pass(""))]).group(), ["x", "y"]);
}

#[test]
fn several_providers_share_an_entry() {
    let components = [("x", pass(PROVIDES_A)), ("y", pass(BOTH_A)), ("z", pass(REQUIRES_A))];
    let plan = detect("x y z", &[], &components).result.unwrap().plan;
    assert_eq!(plan.entries[0].providers.len(), 2);
    assert_eq!(plan.entries[0].requires.len(), 2);
}

#[test]
fn targets_and_execution_environments_decide_who_takes_part() {
    let mut store = vec![descriptor("x"), descriptor("y"), descriptor("z")];
    store[0].targets = vec![Target { os: Some("windows".into()), ..Target::default() }];
    store[1].exec_env = vec!["test".into()];
    let target = Target { os: Some("linux".into()), ..Target::default() };
    let circumstances = Circumstances { store: &store, target: &target, exec_env: "production" };
    let mut ran = Vec::new();
    let mut run = |indexes: &[usize]| {
        ran.extend_from_slice(indexes);
        vec![pass(""); indexes.len()]
    };
    assert_eq!(resolve(&circumstances, &order_of("x? y z"), &mut run).unwrap().members, [2]);
    assert_eq!(resolve(&circumstances, &order_of("x z"), &mut run), Err(DetectError::Broken));
    assert_eq!(ran, [2, 2]);
}
