"""Which language a file is written in, as far as its name and the editor say.

To add a language, add one row to LANGUAGES. Source: gateway-api.md 5.4 and Appendix A.
"""

from __future__ import annotations

from dataclasses import dataclass

# Id in answers, file extensions (case counts: `C` is C++), and language ids of editors.
LANGUAGES = (
    ("c", "c h", "c"),
    ("cpp", "C H c++ cc cpp h++ hh hpp", "cpp"),
    ("csharp", "cs", "csharp"),
    ("go", "go", "go"),
    ("java", "java", "java"),
    ("js", "js jsx", "javascript javascriptreact"),
    ("php", "php php3 php4 php5 phps phpt", "php"),
    ("python", "py", "python"),
    ("ruby", "rb", "ruby"),
    ("rust", "rs", "rust"),
    ("scala", "scala", "scala"),
    ("ts", "ts tsx", "typescript typescriptreact"),
    ("kotlin", "kt kts", "kotlin"),
    ("ada", "ada adb ads", "ada"),
    ("apex", "cls trigger", "apex"),
    ("arduino", "ino", "arduino"),
    ("asm", "S asm s", "asm x86asm"),
    ("awk", "awk", "awk"),
    ("bash", "bash sh", "bash shellscript"),
    ("batch", "bat cmd", "bat"),
    ("bicep", "bicep", "bicep"),
    ("c3", "c3", "c3"),
    ("cairo", "cairo", "cairo"),
    ("clojure", "clj cljc cljs", "clojure"),
    ("cobol", "cbl cob cobol", "cobol"),
    ("commonlisp", "cl lisp lsp", "commonlisp lisp"),
    ("crystal", "cr", "crystal"),
    ("cuda", "cu cuh", "cuda cuda-cpp"),
    ("d", "d", "d"),
    ("dart", "dart", "dart"),
    ("devicetree", "dts dtsi", "dts"),
    ("dockerfile", "dockerfile", "dockerfile"),
    ("elisp", "el", "emacs-lisp"),
    ("elixir", "ex exs", "elixir"),
    ("elm", "elm", "elm"),
    ("erlang", "erl hrl", "erlang"),
    ("fennel", "fnl", "fennel"),
    ("fish", "fish", "fish"),
    ("fortran", "f f03 f08 f77 f90 f95 for", "FortranFreeForm fortran"),
    ("fsharp", "fs fsi fsx", "fsharp"),
    ("gdscript", "gd", "gdscript"),
    ("gleam", "gleam", "gleam"),
    ("glsl", "frag glsl vert", "glsl"),
    ("groovy", "groovy gsh gvy gy", "groovy"),
    ("hack", "hack", "hack"),
    ("hare", "ha", "hare"),
    ("haskell", "hs lhs", "haskell"),
    ("haxe", "hx", "haxe"),
    ("hcl", "hcl", "hcl"),
    ("hlsl", "hlsl", "hlsl"),
    ("idris", "idr", "idris"),
    ("jai", "jai", "jai"),
    ("janet", "janet", "janet"),
    ("jq", "jq", "jq"),
    ("julia", "jl", "julia"),
    ("lua", "lua", "lua"),
    ("luau", "luau", "luau"),
    ("magik", "magik", "magik"),
    ("matlab", "", "matlab"),
    ("mojo", "mojo", "mojo"),
    ("move", "move", "move"),
    ("nim", "nim", "nim"),
    ("nix", "nix", "nix"),
    ("objc", "m mm", "objective-c objective-cpp"),
    ("ocaml", "ml mli", "ocaml"),
    ("odin", "odin", "odin"),
    ("pascal", "pas pp", "objectpascal pascal"),
    ("perl", "pl pm pod t", "perl"),
    ("pony", "pony", "pony"),
    ("powershell", "ps1 psd1 psm1", "powershell"),
    ("prolog", "pro prolog", "prolog"),
    ("purescript", "purs", "purescript"),
    ("ql", "ql qll", "codeql ql"),
    ("r", "R r", "r"),
    ("racket", "rkt", "racket"),
    ("rescript", "res resi", "rescript"),
    ("robot", "robot", "robot"),
    ("roc", "roc", "roc"),
    ("scheme", "scm ss", "scheme"),
    ("smalltalk", "st", "smalltalk"),
    ("solidity", "sol", "solidity"),
    ("sourcepawn", "sp", "sourcepawn"),
    ("sql", "sql", "sql"),
    ("starlark", "bzl star", "bazel starlark"),
    ("svelte", "svelte", "svelte"),
    ("swift", "swift", "swift"),
    ("systemverilog", "sv svh", "systemverilog"),
    ("tact", "tact", "tact"),
    ("tcl", "tcl tk", "tcl"),
    ("terraform", "tf tfvars", "terraform"),
    ("tlaplus", "tla", "tlaplus"),
    ("v", "vsh vv", "v"),
    ("vb", "bas vb vbs", "vb vbscript"),
    ("verilog", "v", "verilog"),
    ("vhdl", "vhd vhdl", "vhdl"),
    ("vim", "vim", "vim viml"),
    ("vue", "vue", "vue"),
    ("wgsl", "wgsl", "wgsl"),
    ("zig", "zig", "zig"),
    ("zsh", "zsh", "zsh"),
)
# What a prompt calls a language whose id is short for it.
PROMPT_NAMES = {"csharp": "c_sharp", "js": "javascript", "ts": "typescript"}

_BY_EXTENSION = {
    extension: slug for slug, extensions, _ in LANGUAGES for extension in extensions.split()
}
_BY_EDITOR_ID = {
    editor_id.lower(): slug for slug, _, editor_ids in LANGUAGES for editor_id in editor_ids.split()
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Language:
    """What is known of a file's language; both names are empty if nothing is.

    `id` goes into answers and may be empty for a language that is not in LANGUAGES. `prompt_name`
    is what a model reads: the editor's id, else the language of the extension, else the extension.
    """

    id: str
    prompt_name: str

    @property
    def is_known(self) -> bool:
        """Test whether anything is known; if not, no model is asked (gateway-api.md 5.1, 6)."""
        return self.prompt_name != ""


def detect(file_name: str, language_identifier: str | None) -> Language:
    """Return the language of a file: the extension decides the id, the editor the prompt's word."""
    # Only the last part of a path: the dot in "v1.2/Makefile" starts no extension.
    _, dot, rest = file_name.strip().rpartition("/")[2].rpartition(".")
    extension = rest if dot else ""
    editor_id = (language_identifier or "").strip().lower()
    slug = _BY_EXTENSION.get(extension, "")
    prompt_name = editor_id or PROMPT_NAMES.get(slug, slug) or extension.lower()
    return Language(id=slug or _BY_EDITOR_ID.get(editor_id, ""), prompt_name=prompt_name)
