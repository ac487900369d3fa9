//! What is wrong with a tree, gathered and told as one fault.

use hythe_model::Fault;

/// A reason to refuse a tree. The order is the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    GitLookalike,
    HostileName,
    InvisibleCharacter,
    NotUtf8,
    DeviceName,
    UnicodeClash,
    CaseClash,
    UnknownMode,
    LinkLeavesTree,
    LinksTangled,
    LinkTooLong,
    PathTooLong,
    TooDeep,
    TooManyFiles,
    FileTooBig,
    TreeTooBig,
    Submodule,
    LfsPointer,
}

/// Id, sentence and what to do.
type Words = (&'static str, &'static str, &'static str);

impl Kind {
    #[expect(clippy::too_many_lines, reason = "one table, a row a kind")]
    fn words(self) -> Words {
        match self {
            Self::GitLookalike => ("source/git-lookalike", "a name imitates git's own folder", "Rename it."),
            Self::HostileName => ("source/hostile-name", "a name cannot be the name of a file", "Rename it."),
            Self::InvisibleCharacter => (
                "source/invisible-character",
                "a name has control or direction-changing characters",
                "Rename it.",
            ),
            Self::NotUtf8 => ("source/name-not-utf8", "a name is not UTF-8", "Rename it."),
            Self::DeviceName => (
                "source/device-name",
                "a name means a device on other systems",
                "Rename it: con, prn, aux, nul, com1 to com9 and lpt1 to lpt9 are devices, with any extension.",
            ),
            Self::UnicodeClash => (
                "source/unicode-clash",
                "two names look the same and are spelt with different characters",
                "Rename one of them.",
            ),
            Self::CaseClash => {
                ("source/case-clash", "two names differ by upper and lower case alone", "Rename one of them.")
            }
            Self::UnknownMode => {
                ("source/unknown-mode", "an entry is neither file, folder nor link", "Remove it.")
            }
            Self::LinkLeavesTree => (
                "source/link-leaves-tree",
                "a symbolic link leaves the tree",
                "Make it point, relatively, at something in the repository.",
            ),
            Self::LinksTangled => (
                "source/links-tangled",
                "symbolic links lead through each other in too many ways to be followed",
                "Replace links by what they point at.",
            ),
            Self::LinkTooLong => {
                ("source/link-too-long", "a symbolic link's target is too long", "Shorten it.")
            }
            Self::PathTooLong => ("source/path-too-long", "a path is too long", "Shorten it."),
            Self::TooDeep => ("source/too-deep", "folders are nested too deep", "Flatten them."),
            Self::TooManyFiles => (
                "source/too-many-files",
                "the tree has too many files",
                "Keep what can be downloaded or generated (node_modules, vendor, build output) out of the repository.",
            ),
            Self::FileTooBig => (
                "source/file-too-big",
                "a file is too big",
                "Keep large data outside the repository and fetch it when the tool starts.",
            ),
            Self::TreeTooBig => (
                "source/tree-too-big",
                "the tree is too big",
                "Keep large data outside the repository and fetch it when the tool starts.",
            ),
            Self::Submodule => (
                "source/submodule",
                "it has git submodules, which are not supported yet",
                "Copy the submodule's files into the repository (git subtree add).",
            ),
            Self::LfsPointer => (
                "source/lfs-pointer",
                "it has Git LFS pointers, which are not supported yet",
                "Commit the files themselves (git lfs migrate export) or fetch them when the tool starts.",
            ),
        }
    }
}

/// How many names of one kind a fault lists.
const SHOWN: usize = 10;
/// How many findings are kept; a tree with more is hopeless anyway.
const KEPT: usize = 1000;

/// Findings in the order of the walk.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<(Kind, String)>,
}

impl Findings {
    /// Adds one; `line` names the path and, where it helps, a figure.
    pub(crate) fn add(&mut self, kind: Kind, line: String) {
        if self.list.len() < KEPT {
            self.list.push((kind, line));
        }
    }

    /// Whether the walk may stop.
    pub(crate) fn full(&self) -> bool {
        self.list.len() >= KEPT
    }

    /// The fault for the gravest kind, with its names; none where nothing was found.
    pub(crate) fn verdict(&self) -> Result<(), Fault> {
        let Some(kind) = self.list.iter().map(|(kind, _)| *kind).min() else { return Ok(()) };
        let names: Vec<_> =
            self.list.iter().filter(|(other, _)| *other == kind).map(|(_, line)| line).collect();
        let (id, what, next) = kind.words();
        let mut fault = Fault::new(id, format!("The source was refused: {what}."))
            .why_lines(names.iter().take(SHOWN).map(|line| (*line).clone()));
        if names.len() > SHOWN {
            fault = fault.why(format!("and {} more", names.len() - SHOWN));
        }
        Err(fault.next(next).next("Then commit and push again."))
    }
}

/// A path as it may be shown: control and invisible characters escaped, shortened.
pub(crate) fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let safe = |c: char| !c.is_control() && !crate::names::is_invisible(c);
    let mut shown: String = text.chars().take(200).fold(String::new(), |mut all, c| {
        if safe(c) {
            all.push(c);
        } else {
            all.extend(c.escape_unicode());
        }
        all
    });
    if text.chars().count() > 200 {
        shown.push_str("...");
    }
    shown
}
