//! The two macros that declare what a section of the configuration holds: each setting, and each word of a
//! setting that is one of several, stands in one place and nowhere else.

/// Declares a struct whose fields are settings, and how they are read. A setting is one entry:
/// ```text
/// /// Threads that read requests. One serves some 100,000 requests a second.
/// /// More than one pays only where one core is full.
/// pub fronts: usize = "1", Count(1, 64);
/// ```
/// The first line says in `config.ini` why one would change it; lines after it are for readers of the code.
/// Then come its name, the type of its value, its default as text, and its [`Rule`](super::setting::Rule).
///
/// What the struct holds `beside` its settings is handed to `read`, in the same order.
macro_rules! settings {
    (
        $(#[$of_struct:meta])*
        $vis:vis struct $Name:ident {
            $(
                #[doc = $about:literal]
                $(#[doc = $more:literal])*
                $field_vis:vis $field:ident: $Type:ty = $default:expr, $rule:expr;
            )*
        }
        $(beside {
            $($(#[$of_other:meta])* $other_vis:vis $other:ident: $Other:ty,)*
        })?
    ) => {
        $(#[$of_struct])*
        // The texts are those of config.ini, where [redis] is a section and <key> a key.
        #[allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]
        $vis struct $Name {
            $($($(#[$of_other])* $other_vis $other: $Other,)*)?
            $(#[doc = $about] $(#[doc = $more])* $field_vis $field: $Type,)*
        }

        impl $Name {
            /// In the order of the shipped file.
            pub(crate) const SETTINGS: &'static [$crate::config::setting::Setting] = &[$(
                $crate::config::setting::Setting {
                    name: stringify!($field),
                    default: $default,
                    allowed: || $crate::config::setting::Rule::allowed(&$rule),
                    about: $about.trim_ascii(),
                },
            )*];

            /// Reads the settings from `section`. None only where a required one is missing, which is reported.
            pub(crate) fn read(
                section: &mut $crate::config::section::Section,
                report: &mut $crate::config::report::Report,
                $($($other: $Other,)*)?
            ) -> Option<Self> {
                Some(Self {
                    $($field: section.read(stringify!($field), $default, &$rule, report)?,)*
                    $($($other,)*)?
                })
            }
        }
    };
}

/// Declares an enum whose variants are words of the configuration, for the rule `Choice(Name::WORDS)`.
macro_rules! words {
    (
        $(#[$of_enum:meta])*
        $vis:vis enum $Name:ident {
            $($(#[$of_variant:meta])* $Variant:ident = $word:literal,)*
        }
    ) => {
        $(#[$of_enum])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $Name {
            $($(#[$of_variant])* $Variant,)*
        }

        impl $Name {
            /// All words, each with what it means.
            pub(crate) const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$Variant),)*];

            /// The word for it in the configuration.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$Variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

pub(crate) use {settings, words};
