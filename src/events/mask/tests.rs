use super::*;
use hythe_model::Phase;

fn masker<'a>(values: impl IntoIterator<Item = &'a str>) -> Masker {
    Masker::new(values).unwrap()
}

fn of_file(content: &str) -> Masker {
    Masker::new([Secret::File(content)]).unwrap()
}

/// Texts that are the same each time.
struct Random(u64);

impl Random {
    fn text(&mut self, alphabet: &[char], bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 4);
        while text.len() < bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push(alphabet[usize::try_from(self.0 >> 33).unwrap() % alphabet.len()]);
        }
        text
    }

    fn lines(&mut self, begin: &str, alphabet: &[char], bytes: usize, count: usize) -> String {
        (0..count).map(|_| begin.to_owned() + &self.text(alphabet, bytes) + "\n").collect()
    }
}

fn base64() -> Vec<char> {
    ('a'..='z').chain('A'..='Z').chain('0'..='9').chain(['+', '/']).collect()
}

#[test]
fn values_are_replaced_however_they_are_written() {
    let masker = masker(["hunter2/x", "say \"friend\"", "abc", ""]);
    assert_eq!(masker.mask("user:hunter2/x@host, again hunter2/x"), "user:[masked]@host, again [masked]");
    assert_eq!(masker.mask("https://u:hunter2%2Fx@host"), "https://u:[masked]@host");
    assert_eq!(masker.mask(r#"{"door":"say \"friend\""}"#), r#"{"door":"[masked]"}"#);
    assert_eq!(masker.mask("abc hunter2"), "abc hunter2", "too short, and another value");
    assert!(!format!("{masker:?}").contains("hunter"));
}

#[test]
fn the_longest_of_overlapping_values_wins() {
    let masker = masker(["secret", "secret-of-ann"]);
    assert_eq!(masker.mask("secret-of-ann secret-of"), "[masked] [masked]-of");
}

#[test]
fn a_value_that_begins_inside_another_is_masked_to_its_end() {
    let begin = Random(5).text(&base64(), 70);
    let (before, now) = (format!("k={begin}11111111"), format!("{begin}SECRET22"));
    assert_eq!(masker([&*before, &*now]).mask(&format!("k={now}, {before}.")), "[masked], [masked].");
    let masker = masker(["abcdefgh", "ghijklmn", "mnopqrst"]);
    assert_eq!(masker.mask("abcdefghijklmnopqrst abcdefghijk"), "[masked] [masked]ijk");
}

#[test]
fn a_value_of_several_lines_is_masked_line_by_line() {
    let masker = masker(["-----BEGIN KEY-----\nMIIEvQIBADANBg\nab\n-----END KEY-----\n"]);
    assert_eq!(masker.mask("key: MIIEvQIBADANBg"), "key: [masked]");
    assert_eq!(masker.mask("ab"), "ab");
}

#[test]
fn what_is_secret_in_a_settings_file_is_masked_without_its_name() {
    let masker = masker([
        "[client]\nuser = s53\npassword = \"hunter2!hunter2\"\n",
        "{\n  \"token\": \"abcdefgh\",\n}",
    ]);
    assert_eq!(masker.mask("mysql -us53 -phunter2!hunter2 abcdefgh"), "mysql -us53 -p[masked] [masked]");
    assert_eq!(masker.mask("password = \"hunter2!hunter2\""), "[masked]");
    assert_eq!(masker.mask("mysql://s53:hunter2%21hunter2@host"), "mysql://s53:[masked]@host");
}

#[test]
fn a_file_of_one_line_is_a_file_and_a_variable_is_a_value() {
    let line = "password = hunter2/\"hunter2";
    let (file, printed) = (of_file(line), "hunter2/\"hunter2");
    assert_eq!((&*file.mask(printed), &*masker([line]).mask(printed)), ("[masked]", printed));
    let written = r#"{"p":"hunter2/\"hunter2"} hunter2%2F%22hunter2"#;
    assert_eq!(file.mask(written), r#"{"p":"[masked]"} [masked]"#);
    assert_eq!(of_file("user = s53\nport = 3306").mask("s53 3306"), "s53 3306", "under eight bytes");
}

#[test]
fn a_long_value_is_masked_as_far_as_it_goes() {
    let value = Random(1).text(&base64(), 5_000);
    let other = format!("{}{}", &value[..100], Random(2).text(&base64(), 500));
    let masker = masker([value.as_str(), other.as_str()]);
    assert_eq!(masker.mask(&format!("a {value} b {other} c")), "a [masked] b [masked] c");
    for cut in [64, 65, 99, 100, 101, 600, 4_999] {
        assert_eq!(masker.mask(&format!("{} is cut", &value[..cut])), "[masked] is cut", "at {cut}");
    }
    assert_eq!(masker.mask(&value[..63]), &value[..63]);
    let url = format!("x{}", value.replace('+', "%2B").replace('/', "%2F"));
    assert_eq!(masker.mask(&url), "x[masked]");
}

#[test]
fn what_is_left_of_a_text_is_whole_characters() {
    let value = "é".repeat(100);
    // The first byte of the two characters is the same.
    let text = format!("{}è and more", "é".repeat(50));
    assert_eq!(masker([value.as_str()]).mask(&text), "[masked] and more");
}

#[test]
fn a_text_that_is_like_a_value_all_over_takes_no_longer() {
    let masker = masker([&*"a".repeat(64 << 10)]);
    let text = "a".repeat(63 << 10) + "b";
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(masker.mask(&text), "[masked]", "nobody looks whether the rest is one too");
    }
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}

#[test]
fn every_text_of_an_event_is_masked() {
    let masker = masker(["hunter2"]);
    let fault = Fault::new("a/b", "hunter2").why("x hunter2").next("y hunter2");
    let BuildEvent::Failed { fault } = masker.mask_event(BuildEvent::Failed { fault }) else { panic!() };
    assert_eq!(fault, Fault::new("a/b", "[masked]").why("x [masked]").next("y [masked]"));
    let event = BuildEvent::Output { phase: Phase::Build, line: "hunter2".into() };
    assert_eq!(masker.mask_event(event), BuildEvent::Output { phase: Phase::Build, line: "[masked]".into() });
}

/// As many bytes as a tool's config may have: in long values, in letters that a URL writes at length, as settings, and as what has the
/// most patterns and the longest.
#[test]
fn memory_is_bounded_whatever_a_config_holds() {
    const VALUE: usize = 64 << 10;
    let mut random = Random(3);
    let (letters, foreign) = (base64(), ('а'..='я').collect::<Vec<_>>());
    let signs: Vec<char> = ('\u{1}'..' ').filter(|sign| !sign.is_whitespace()).collect();
    let mut each = |make: &dyn Fn(&mut Random) -> String| (0..16).map(|_| make(&mut random)).collect();
    let cases: [(&str, usize, Vec<String>); 3] = [
        ("values", 4 << 20, each(&|random| random.text(&letters, VALUE))),
        ("foreign values", 8 << 20, each(&|random| random.text(&foreign, VALUE))),
        ("settings", 32 << 20, each(&|random| random.lines("password = ", &letters, 24, VALUE / 36))),
    ];
    let signs: Vec<_> = each(&|random| random.lines("=", &signs, 8, VALUE / 10));
    assert!(Masker::new(signs.iter().map(|value| Secret::File(value))).is_err(), "signs");
    for (what, most, values) in cases {
        let masker = Masker::new(values.iter().map(|value| Secret::File(value))).unwrap();
        let memory = masker.memory();
        assert!(memory <= most, "{what} take {memory} bytes");
        let line = values[7].lines().nth(1).or(values[7].lines().next()).unwrap_or_default();
        assert_eq!(masker.mask(line), "[masked]", "{what}");
    }
    let five: Vec<_> = (0..5).map(|_| random.text(&letters, 40)).collect();
    let memory = masker(five.iter().map(String::as_str)).memory();
    assert!(memory <= 8 << 10, "what is usual takes {memory} bytes");
}

#[test]
fn what_is_beyond_all_bounds_has_no_masker() {
    let mut random = Random(4);
    let versions: Vec<_> = (0..80).map(|_| random.lines("", &base64(), 8, 7_000)).collect();
    let refused = Masker::new(versions.iter().map(|value| Secret::File(value))).unwrap_err();
    assert!(refused.to_string().contains("too many different values"), "{refused}");
}
