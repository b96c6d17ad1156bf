//! Prompt rules: disguises that must be found, innocent prompts that must not, files that must be refused.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use calotype_safety::rules::{Place, Rules, Subject};
use proptest::prelude::*;

#[path = "../../../fuzz/mutator.rs"]
#[expect(dead_code, reason = "only the inputs are used")]
mod mutator;

const RULES: &str = r#"
[[deny]]
id = "w1"
list = "test"
reason = "a word of the tests"
word = "forbidden"

[[deny]]
id = "w2"
word = "naked"

[[deny]]
id = "w3"
word = "cunt"

[[deny]]
id = "w4"
word = "rape"

[[deny]]
id = "w5"
word = "cock"

[[deny]]
id = "w6"
word = "ass"

[[deny]]
id = "w7"
word = "sex"

[[deny]]
id = "w8"
word = "hell"

[[deny]]
id = "a1"
anywhere = "xyzzyplugh"

[[deny]]
id = "r1"
regex = '\bkill(s|ed|ing)? (him|her|them)\b'

[[deny]]
id = "n1"
in = ["negative_prompt"]
word = "clothes"

[[deny]]
id = "m1"
in = ["name"]
anywhere = "undresser"

[[allow]]
phrase = "Hell's Kitchen"

[[allow]]
phrase = "the naked truth"
"#;

fn rules() -> Rules {
    Rules::parse(RULES).unwrap()
}

fn ids(rules: &Rules, prompt: &str) -> Vec<String> {
    rules.check(&Subject::prompt(prompt)).into_iter().map(|hit| hit.id).collect()
}

#[test]
fn disguises_are_found() {
    let rules = rules();
    let disguises = [
        "forbidden",
        "FORBIDDEN",
        "a very Forbidden, place",
        // Look-alikes: full width, mathematical, Cyrillic and Greek, dotless i, stroke, small capitals, circled, squared, regional.
        "ｆｏｒｂｉｄｄｅｎ",
        "𝐟𝐨𝐫𝐛𝐢𝐝𝐝𝐞𝐧",
        "𝔣𝔬𝔯𝔟𝔦𝔡𝔡𝔢𝔫",
        "fоrbiddеn",
        "fοrbιdden",
        "forbıdden",
        "førbidden",
        "ꜰᴏʀʙɪᴅᴅᴇɴ",
        "ⓕⓞⓡⓑⓘⓓⓓⓔⓝ",
        "🄵🄾🅁🄱🄸🄳🄳🄴🄽",
        "🇫🇴🇷🇧🇮🇩🇩🇪🇳",
        // Marks and invisible characters.
        "fórbìddên",
        "f̷o̷r̷b̷i̷d̷d̷e̷n̷",
        "for\u{200b}bidden",
        "for\u{ad}bidden",
        "for\u{34f}bid\u{2060}den",
        "for\u{3164}bidden",
        "for\u{e0020}bidden",
        "f\u{fe0f}orbidden",
        // Numbers and signs for letters, repeats.
        "f0rb1dd3n",
        "f0rb!dd3n",
        "forb|dden",
        "f*rb*dd*n",
        "foooorbiddddennn",
        // Gaps.
        "f.o.r.b.i.d.d.e.n",
        "f-o-r-b-i-d-d-e-n",
        "f o r b i d d e n",
        "a picture of a f o r b i d d e n thing",
        "f  o  r  b  1  d  d  3  n",
        "for-bidden",
        // Right to left.
        "\u{202e}neddibrof\u{202c}",
        // The grammar of prompts.
        "for(bid:1.1)den",
        "for((bid))den",
        "[for:forbidden:0.5]",
        "[cat|forbidden]",
        "cat AND forbidden :0.5",
        "f(o:1.2)r[b]idden",
        "for<lora:x:1>bidden",
        "cat BREAK forbidden",
        "(for:1.3)b1d(den:0.4)",
        // HTML.
        "&#102;orbidden",
        "&#x66;or&#98;idden",
        "for&shy;bidden",
        "for&zwnj;bidden",
        "&amp;#102;orbidden",
    ];
    let missed: Vec<&str> =
        disguises.into_iter().filter(|text| !ids(&rules, text).contains(&"w1".to_owned())).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
    assert_eq!(ids(&rules, "n4k3d n@ked"), ["w2"]);
    assert_eq!(ids(&rules, "what an a$$"), ["w6"]);
    assert_eq!(ids(&rules, "xyz zy-p.l.u.g.h"), ["a1"]);
    assert_eq!(ids(&rules, "a man KILLS  him, kills him"), ["r1"]);
}

#[test]
fn each_text_has_its_own_rules() {
    let rules = rules();
    assert!(ids(&rules, "new clothes").is_empty());
    let negative = Subject { negative_prompts: vec!["cl0thes"], steps: 20, ..Subject::default() };
    let hits = rules.check(&negative);
    assert_eq!((hits.len(), hits[0].id.as_str(), hits[0].place), (1, "n1", Place::NegativePrompt));
    assert_eq!(ids(&rules, "a fox <lora:the_Undresser_v2:0.7>"), ["m1"]);
    let named = Subject { names: vec!["UnDresser.safetensors"], ..Subject::default() };
    assert_eq!(rules.check(&named)[0].place, Place::Name);
    let hit = &rules.check(&Subject::prompt("forbidden"))[0];
    assert_eq!((hit.list.as_deref(), hit.reason.as_deref()), (Some("test"), Some("a word of the tests")));
}

#[test]
fn allowed_phrases_count_only_for_themselves() {
    let rules = rules();
    assert!(ids(&rules, "a street in Hell's Kitchen, New York").is_empty());
    assert!(ids(&rules, "the NAKED truth").is_empty());
    assert_eq!(ids(&rules, "the naked truth about a naked man"), ["w2"]);
    assert_eq!(ids(&rules, "a kitchen in hell"), ["w8"]);
}

/// A thousand prompts that nobody should be refused: those with words in words, and what people ask for.
fn innocent() -> Vec<String> {
    let tricky = [
        "forbid den of lions",
        "they forbid, den and lair",
        "Scunthorpe town hall at night",
        "a bowl of grapes, drapery",
        "the cockpit of a plane, a peacock, a cockatoo",
        "a class of assassins, brass, grass and glass",
        "a bass player, a compass, Picasso",
        "Essex and Sussex and Middlesex",
        "sextant, a sextet, Saxon",
        "hello, a seashell, Michelle, shells",
        "a therapist, a trapeze, scraped knees",
        "455 people, 1 5 5 stairs, size 8055",
        "a + b = c, [a|b] 4 5 5",
        "f o x and h e n",
        "I a m a b c d e f g",
        "a s s e m b l y instructions",
        "an old ball and a bill, a bail bond",
        "skilled workers, killer whale, painkillers",
        "tip: use (soft light:1.2), [fog:rain:0.4]",
        "naïve café, Ångström, Zürich, São Paulo",
        "日本の庭園、春",
        "Сталкер в лесу, зима",
        "مدينة قديمة عند الغروب",
        "עיר עתיקה בשקיעה",
        "🦊🌲 a fox in a forest",
        "one two 3 four, 4K, 8k, HDR, f/1.8, 35mm, ISO 400",
        "c++ code on a screen, a @ b, 100 %",
        "a cat & a dog &amp; a bird &lt;3",
        "masterpiece, best quality, ((detailed)), <lora:ink:0.7>",
        "Dickens, Hancock, Babcock, Hitchcock",
        "a pass, a mass, a lass with a sass",
        "ss. a. ship",
    ];
    let subjects = [
        "a red fox",
        "an old lighthouse",
        "a busy market",
        "a knight in armour",
        "two children on a beach",
        "a bowl of fruit",
        "a steam train",
        "a glass house",
        "a classical orchestra",
        "an assembly line",
        "a shellfish dinner",
        "a peacock",
        "an analyst at a desk",
        "a saxophone player",
        "a passenger ship",
        "a grape harvest",
        "a Sussex village",
        "a helicopter",
    ];
    let places =
        ["at dawn", "in the rain", "under a bridge", "on Mars", "in a forest of birches", "in 1920", "by the sea"];
    let styles = [
        "oil painting",
        "35mm photograph",
        "watercolour, soft light",
        "(pencil sketch:1.2)",
        "pixel art, 16-bit",
        "art nouveau poster",
        "isometric render, 4k",
        "charcoal on paper",
    ];
    let mut all: Vec<String> = tricky.map(str::to_owned).to_vec();
    for subject in subjects {
        for place in places {
            all.extend(styles.iter().map(|style| format!("{subject} {place}, {style}")));
        }
    }
    all
}

#[test]
fn a_thousand_innocent_prompts_are_not_refused() {
    let rules = rules();
    let prompts = innocent();
    assert!(prompts.len() >= 1000, "{}", prompts.len());
    let refused: Vec<(&String, Vec<String>)> =
        prompts.iter().map(|prompt| (prompt, ids(&rules, prompt))).filter(|(_, ids)| !ids.is_empty()).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[test]
fn files_are_taken_whole_or_not_at_all() {
    let problem = |text: &str| Rules::parse(text).unwrap_err().to_string();
    let deny = |body: &str| format!("[[deny]]\nid = \"x\"\n{body}\n");
    assert!(problem("[[deny]]\nword = \"abc\"").contains("line 1"), "{}", problem("[[deny]]\nword = \"abc\""));
    for (text, expected) in [
        (deny(""), "one of `word`"),
        (deny("word = \"abc\"\nregex = \"abc\""), "one of `word`"),
        (deny("word = \"ab\""), "3 to 64 letters, not 2"),
        (deny("word = \"!!!\""), "letters, not 0"),
        (deny("regex = \"(\""), "unclosed group"),
        (deny("regex = '\\w{500}{500}'"), "size limit"),
        (deny("word = \"abc\"\nin = []"), "nowhere"),
        (deny("word = \"abc\"\nin = [\"picture\"]"), "unknown variant"),
        (deny("wrod = \"abc\""), "unknown field"),
        (format!("{}{}", deny("word = \"abc\""), deny("word = \"def\"")), "once"),
        ("[[allow]]\nphrase = \"...\"".to_owned(), "no word"),
        ("deny = 3".to_owned(), "line 1"),
        ("[[deny".to_owned(), "line 1"),
    ] {
        let problem = problem(&text);
        assert!(problem.contains(expected) && !problem.contains('\n'), "{text}: {problem}");
    }
    let folder = std::env::temp_dir().join(format!("calotype-rules-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("rules.toml");
    std::fs::write(&file, RULES).unwrap();
    assert_eq!(Rules::open(&file).unwrap().hash(), rules().hash());
    assert_eq!(rules().hash().len(), 64);
    std::fs::write(&file, "[[deny]]\nid = 3").unwrap();
    assert!(Rules::open(&file).unwrap_err().to_string().contains("rules.toml"));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(Rules::open(&file).is_err());
    assert!(Rules::parse("").unwrap().is_empty());
}

#[test]
fn any_text_is_read_in_time() {
    let rules = rules();
    let corpus: Vec<Vec<u8>> = innocent().into_iter().take(60).map(String::into_bytes).collect();
    let words: [&[u8]; 12] = [
        b"forbidden",
        b"(a:1.1)",
        b"[a|b]",
        b"&#102;",
        b"<lora:a:1>",
        b" AND ",
        "\u{202e}".as_bytes(),
        "\u{200b}".as_bytes(),
        "ﷺ".as_bytes(),
        "e\u{301}\u{301}".as_bytes(),
        b"&amp;",
        "🇫".as_bytes(),
    ];
    let mut mutator = mutator::Mutator::new(&corpus, &words);
    for number in 0..2000 {
        let text = String::from_utf8_lossy(&mutator.input(1, number)).into_owned();
        ids(&rules, &text);
    }
    let start = std::time::Instant::now();
    for long in [
        "a".repeat(60_000),
        "a ".repeat(30_000),
        "f o r b i d d e ".repeat(3000),
        "ａ\u{301}".repeat(10_000),
        "&".repeat(60_000),
    ] {
        assert!(ids(&rules, &long).is_empty());
    }
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Disguises put together at random.
    #[test]
    fn disguises_together_are_found(ways in prop::collection::vec(0usize..7, 9), before in "[a-z]{0,6} ?,", after in "[ ,.][a-z]{0,6}") {
        let mut text = before;
        for (letter, way) in "forbidden".chars().zip(ways) {
            let wide = char::from_u32(u32::from(letter) - u32::from('a') + u32::from('ａ')).unwrap();
            match way {
                0 => text.push(letter.to_ascii_uppercase()),
                1 => text.push(wide),
                2 => text.extend([letter, '\u{200b}']),
                3 => text.extend([letter, '\u{301}']),
                4 => text.push_str(&format!("({letter}:1.1)")),
                5 => text.push(match letter { 'o' => '0', 'i' => '1', 'e' => '3', 'b' => '8', other => other }),
                _ => text.push(letter),
            }
        }
        text.push_str(&after);
        prop_assert!(ids(&rules(), &text).contains(&"w1".to_owned()), "{text:?}");
    }
}
