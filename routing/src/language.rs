//! The language of a text: by its script, and by the commonest words and the letters of languages in the Latin and the Cyrillic script.
//!
//! It reads at most [`READ_MAX`] bytes and makes no statement about a text without enough to go by.

/// The bytes at the beginning of a text that are read; a page has more than enough words.
const READ_MAX: usize = 2048;
/// What a letter counts that only few languages have, beside a common word, which counts 2.
const LETTER: u32 = 1;
/// What a common word counts.
const WORD: u32 = 2;
/// The most that letters count together, so that one name does not outweigh the words.
const LETTERS_MAX: u32 = 3;

/// The codes of the languages that are told apart, as ISO 639-1 has them (`no` for both Norwegian ones).
pub const LANGUAGES: [&str; 24] = [
    "ar", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "it", "ja", "ko", "nl",
    "no", "pl", "pt", "ru", "sv", "th", "uk", "zh",
];

/// A language of a script that several languages share.
struct Known {
    code: &'static str,
    /// Its commonest words, as far as they are short of meaning: between spaces.
    words: &'static str,
    /// Letters that few other languages of the list have.
    letters: &'static str,
}

const LATIN: [Known; 13] = [
    Known {
        code: "en",
        words: " the and is are was were of to in that it you your i my we can how what when where why which with for not do does did have has this there please would could should been from they will at or if an on by me be am hello thanks ",
        letters: "",
    },
    Known {
        code: "de",
        words: " der die das und ist sind war nicht ich du sie wir ihr ein eine einen einem mein meine meinen wie was wann wo warum welche mit für auf zu den dem des von kann können bitte habe hat haben es im zum zur auch noch wird werden aber oder wenn sich bei nach über hallo danke ",
        letters: "ßäöü",
    },
    Known {
        code: "fr",
        words: " le la les et est sont était ne pas je tu il elle nous vous mon ma mes votre un une des du de comment quand où pourquoi quel quelle avec pour dans sur que qui ce cette peux puis pouvez ai avez ont au aux en se plus mais ou si bonjour merci c'est j'ai s'il ",
        letters: "çœèêâîôûëïù",
    },
    Known {
        code: "es",
        words: " el la los las y es son era no yo tú usted mi mis su un una unos de del cómo como qué que cuándo dónde por para con en al se puedo puede tengo tiene hay está están esta este pero o si le lo me más quiero hola gracias ",
        letters: "ñ¿¡óíúá",
    },
    Known {
        code: "it",
        words: " il lo la gli le e è sono era non io tu lei mio mia un una uno di del della dei come cosa quando dove perché quale con per in nel nella su che si posso può ho ha questo questa ma o se al alla anche più vorrei ciao grazie ",
        letters: "òìèù",
    },
    Known {
        code: "pt",
        words: " o a os as e é são era não eu você meu minha meus um uma de do da dos das como que quando onde por para com em no na ao se posso pode tenho tem está isso este esta mas ou mais quero foi pelo pela olá obrigado obrigada ",
        letters: "ãõçêâ",
    },
    Known {
        code: "nl",
        words: " de het een en is zijn was niet ik jij je u wij we mijn uw van hoe wat wanneer waar waarom welke met voor op te in dat die dit kan kunt kunnen heb heeft hebben er aan om naar ook nog maar of als bij door graag hallo dank ",
        letters: "ĳ",
    },
    Known {
        code: "sv",
        words: " och är var inte jag du ni vi min mitt mina din ditt en ett den det de hur vad när varför vilken vilket med för på till av i som kan har hade ska om men eller att från mig kunde skulle vill finns hej tack ",
        letters: "åäö",
    },
    Known {
        code: "da",
        words: " og er var ikke jeg du i vi min mit mine din dit en et den det de hvordan hvad hvornår hvor hvorfor hvilken med for på til af som kan har havde skal om men eller at fra mig kunne ville findes hej tak blev noget ",
        letters: "åæø",
    },
    Known {
        code: "no",
        words: " og er var ikke jeg du dere vi min mitt mine din ditt en et den det de hvordan hva når hvor hvorfor hvilken med for på til av som kan har hadde skal om men eller at fra meg kunne ville finnes hei takk ble noe ",
        letters: "åæø",
    },
    Known {
        code: "fi",
        words: " ja on ovat oli ei en minä sinä hän me te minun sinun miten mitä mikä milloin missä miksi kanssa voin voi voiko olen olet se tämä tuo että jos tai mutta kun myös vain niin hei kiitos haluan minulla ole ",
        letters: "äö",
    },
    Known {
        code: "pl",
        words: " i jest są był nie ja ty pan pani my mój moja moje jak co kiedy gdzie dlaczego który która z dla na do w że to się mogę może mam ma czy po od za ale lub jeśli przez jestem proszę chcę dziękuję dzień ",
        letters: "ąęłńśźżć",
    },
    Known {
        code: "cs",
        words: " a je jsou byl není já ty vy my můj moje jak co kdy kde proč který která s pro na do v že to se mohu může mám má či po od za ale nebo jestli jsem prosím chci děkuji dobrý být jako ",
        letters: "ěřůčšž",
    },
];

const CYRILLIC: [Known; 2] = [
    Known {
        code: "ru",
        words: " и в не на я ты вы мы что как где когда почему это мой моя с по для из у к за но или если могу можно есть был мне меня ",
        letters: "ыэъё",
    },
    Known {
        code: "uk",
        words: " і в не на я ти ви ми що як де коли чому це мій моя з по для із у до за але або якщо можу можна є був мені мене та ",
        letters: "іїєґ",
    },
];

/// Returns the code of the language of a text, one of [`LANGUAGES`]; `None` if the text does not tell.
pub fn language(text: &str) -> Option<&'static str> {
    let text = &text[..text.floor_char_boundary(READ_MAX)];
    let text = text.to_lowercase();
    match script(&text)? {
        Script::Latin => best(&LATIN, &text),
        Script::Cyrillic => best(&CYRILLIC, &text),
        Script::Of(code) => Some(code),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Cyrillic,
    /// A script that one language of the list has.
    Of(&'static str),
}

/// Returns the script of most letters. Chinese characters are Japanese ones where some letters are kana.
fn script(text: &str) -> Option<Script> {
    const SCRIPTS: [Script; 11] = [
        Script::Latin,
        Script::Cyrillic,
        Script::Of("el"),
        Script::Of("he"),
        Script::Of("ar"),
        Script::Of("fa"),
        Script::Of("hi"),
        Script::Of("th"),
        Script::Of("ko"),
        Script::Of("ja"),
        Script::Of("zh"),
    ];
    let mut counts = [0_u32; SCRIPTS.len()];
    for char in text.chars() {
        let (place, more) = match char {
            'a'..='z' | 'à'..='ɏ' => (0, 1),
            '\u{400}'..='\u{52f}' => (1, 1),
            '\u{370}'..='\u{3ff}' => (2, 1),
            '\u{590}'..='\u{5ff}' => (3, 1),
            // Letters of Persian that Arabic does not have weigh more than all others of a word.
            'پ' | 'چ' | 'ژ' | 'گ' | 'ک' | 'ی' => (5, 8),
            '\u{600}'..='\u{6ff}' => (4, 1),
            '\u{900}'..='\u{97f}' => (6, 1),
            '\u{e00}'..='\u{e7f}' => (7, 1),
            '\u{ac00}'..='\u{d7af}' | '\u{1100}'..='\u{11ff}' => (8, 2),
            // A Japanese text has more kana than other characters, but not by much.
            '\u{3040}'..='\u{30ff}' => (9, 3),
            '\u{4e00}'..='\u{9fff}' => (10, 2),
            _ => continue,
        };
        counts[place] += more;
    }
    let (place, count) = counts.iter().enumerate().max_by_key(|(_, count)| **count)?;
    (*count > 0).then_some(SCRIPTS[place])
}

/// Returns the language with the highest score; `None` if two have it, or none has one.
fn best(known: &[Known], text: &str) -> Option<&'static str> {
    let mut scores: Vec<(u32, &'static str)> = known
        .iter()
        .map(|language| (language.score(text), language.code))
        .collect();
    scores.sort_unstable();
    let mut highest = scores.iter().rev();
    let (score, code) = *highest.next()?;
    let second = highest.next().map_or(0, |(score, _)| *score);
    (score > second && score >= WORD).then_some(code)
}

impl Known {
    fn score(&self, text: &str) -> u32 {
        let is_part = |char: char| char.is_alphabetic() || char == '\'';
        let words = text
            .split(|char| !is_part(char))
            .filter(|word| !word.is_empty());
        let common = words.filter(|word| self.has(word)).count();
        let letters = text.chars().filter(|char| self.letters.contains(*char));
        let letters = u32::try_from(letters.take(8).count()).unwrap_or(u32::MAX);
        let common = u32::try_from(common).unwrap_or(u32::MAX);
        common
            .saturating_mul(WORD)
            .saturating_add(letters.saturating_mul(LETTER).min(LETTERS_MAX))
    }

    /// Returns `true` if a word is among the common ones.
    fn has(&self, word: &str) -> bool {
        let mut rest = self.words;
        while let Some(at) = rest.find(word) {
            let before = rest[..at].ends_with(' ');
            let behind = &rest[at + word.len()..];
            if before && behind.starts_with(' ') {
                return true;
            }
            rest = behind;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Questions as callers write them.
    const QUESTIONS: &[(&str, &str)] = &[
        ("en", "Where is my parcel? I have been waiting for a week."),
        ("en", "How do I reset my password"),
        ("en", "please cancel the order"),
        ("de", "Wo ist mein Paket? Ich warte seit einer Woche."),
        ("de", "Wie kann ich mein Passwort zurücksetzen?"),
        ("de", "Ich möchte mein Geld zurück"),
        ("fr", "Où est mon colis ? J'attends depuis une semaine."),
        ("fr", "Je voudrais être remboursé, s'il vous plaît"),
        ("es", "¿Dónde está mi paquete? Llevo una semana esperando."),
        ("es", "Quiero cancelar el pedido por favor"),
        ("it", "Dov'è il mio pacco? Non è ancora arrivato."),
        ("it", "Vorrei cambiare la password del mio conto"),
        ("pt", "Onde está a minha encomenda? Não chegou ainda."),
        ("pt", "Eu quero o meu dinheiro de volta"),
        ("nl", "Waar is mijn pakket? Ik wacht al een week."),
        ("nl", "Hoe kan ik mijn wachtwoord wijzigen?"),
        ("sv", "Var är mitt paket? Jag har väntat i en vecka."),
        ("sv", "Hur ändrar jag mitt lösenord"),
        (
            "da",
            "Hvad koster det, og hvornår kan jeg få noget hjælp af jer?",
        ),
        ("no", "Hva koster det, og når kan jeg få hjelp av dere?"),
        ("fi", "Missä minun pakettini on? Olen odottanut viikon."),
        ("pl", "Gdzie jest moja paczka? Czekam już tydzień."),
        ("cs", "Kde je můj balík? Čekám už týden."),
        ("ru", "Где моя посылка? Я жду уже неделю."),
        ("uk", "Де моя посилка? Я чекаю вже тиждень."),
        ("el", "Πού είναι το δέμα μου;"),
        ("he", "איפה החבילה שלי?"),
        ("ar", "أين طردي؟ لقد انتظرت أسبوعا"),
        ("fa", "بسته من کجاست؟ یک هفته است که منتظرم"),
        ("hi", "मेरा पार्सल कहाँ है?"),
        ("th", "พัสดุของฉันอยู่ที่ไหน"),
        ("ko", "제 소포는 어디에 있나요?"),
        ("ja", "私の荷物はどこですか。一週間待っています。"),
        ("zh", "我的包裹在哪里？我已经等了一个星期。"),
    ];

    #[test]
    fn questions_are_told_apart() {
        for (code, question) in QUESTIONS {
            assert_eq!(language(question), Some(*code), "{question}");
            assert!(LANGUAGES.contains(code), "{code}");
        }
        let missing: Vec<_> = LANGUAGES
            .iter()
            .filter(|code| !QUESTIONS.iter().any(|(known, _)| known == *code))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_text_that_does_not_tell_has_no_language() {
        for text in ["", "42", "!?", "Kebnekaise", "OK", "\u{1f600}"] {
            assert_eq!(language(text), None, "{text}");
        }
    }

    #[test]
    fn a_long_text_is_read_in_part_and_never_cut_within_a_character() {
        let text = "ö".repeat(5000);
        assert_eq!(language(&text), None);
        let text = format!(
            "{}{}",
            "the cat and the dog ".repeat(200),
            "и я не ".repeat(9000)
        );
        assert_eq!(language(&text), Some("en"));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,80}") {
            let code = language(&text);
            prop_assert!(code.is_none_or(|code| LANGUAGES.contains(&code)));
        }
    }
}
