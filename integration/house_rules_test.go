package integration

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	modulePath = "github.com/atolldb/atoll"

	fileLinesMax     = 600 // of a source file
	testLinesMax     = 900 // of a test file
	funcLinesMax     = 70
	longFuncsPercent = 3 // functions above funcLinesMax, of all, must be fewer than this
	designWordsMax   = 600
)

// layer says what the packages of one folder may import of this module, as folders. A folder ends in
// "/..." when its subfolders are meant too.
type layer struct {
	folder string
	may    []string
}

// layers is section 3 of the design as data: imports run downward only. A chain "a -> b -> c" lets a
// import b and c. A package of this module that no row names is a violation by itself.
var layers = []layer{
	{"rpc/...", []string{"rpc/..."}},
	{"raftfsm", []string{"rpc/..."}},

	{"metadata/consensus", []string{"raftfsm", "rpc/..."}},
	{"metadata/watch", []string{"raftfsm", "rpc/...", "metadata/consensus"}},
	{"metadata/control", []string{"raftfsm", "rpc/...", "metadata/consensus"}},
	{"metadata/admin", []string{"raftfsm", "rpc/...", "metadata/consensus", "metadata/control"}},
	{"metadata", []string{"raftfsm", "rpc/...", "metadata/..."}},

	{"datanode/replog", nil},
	{"datanode/store", []string{"datanode/replog"}},
	{"datanode/datatype", []string{"datanode/store", "datanode/replog"}},
	{"datanode/tenant", []string{"rpc/..."}},
	{"datanode/replication", []string{"rpc/...", "datanode/tenant", "datanode/store", "datanode/replog"}},
	{"datanode/command", []string{"rpc/...", "datanode/tenant", "datanode/datatype", "datanode/store", "datanode/replog"}},
	{"datanode/resp", []string{
		"rpc/...", "datanode/command", "datanode/tenant", "datanode/datatype", "datanode/store", "datanode/replog",
	}},
	{"datanode", []string{"rpc/...", "datanode/..."}},

	{"cmd/...", []string{"cmd/...", "metadata", "datanode", "rpc/..."}},
	{"integration/...", []string{"integration/...", "raftfsm", "rpc/...", "metadata/...", "datanode/..."}},
}

// isSupport reports whether a package is there for tests alone: it is named for what it tests, as
// net/http/httptest is, or compares replies with those of a real Redis.
func isSupport(folder string) bool {
	return strings.HasSuffix(folder, "test") || folder == "datanode/command/compare"
}

// topFolders are the folders that the root of the repository may have, beside dot-folders.
var topFolders = []string{"cmd", "rpc", "raftfsm", "metadata", "datanode", "deploy", "integration"}

// bannedNames are package names that say nothing about a job.
var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "types", "misc", "shared"}

// bannedImport forbids a package and everything below it in one folder; the folder "." is all of them.
type bannedImport struct {
	folder string
	path   string
	why    string
	tests  bool // holds in test files too
}

var bannedImports = []bannedImport{
	{"datanode", "github.com/hashicorp/raft", "the data plane never links raft", true},
	{"datanode", "github.com/hashicorp/raft-boltdb", "the data plane never links raft", true},
	{"metadata", "github.com/cockroachdb/pebble", "the control plane never links Pebble", true},
	{"raftfsm", "math/rand", "the state machine is deterministic", false},
	{"raftfsm", "crypto/rand", "the state machine is deterministic", false},
	{"raftfsm", "net", "the state machine has no network", false},
	{"raftfsm", "os", "the state machine has no environment", false},
	{"raftfsm", "github.com/hashicorp/raft", "the state machine knows no consensus", true},
	{".", "io/ioutil", "deprecated: use io and os", true},
	{".", "github.com/pkg/errors", "wrap with %w", true},
	{".", "log", "a *slog.Logger is handed in", true},
}

// source is one parsed Go file.
type source struct {
	name      string // path in the repository
	folder    string
	test      bool
	generated bool
	lines     int
	file      *ast.File
	fset      *token.FileSet
}

// tree is what the rules look at.
type tree struct {
	folders []string // at the root
	sources []source
	designs map[string][]byte // DESIGN.md files
}

// readTree parses every Go file of a repository. Data directories, testdata and dot-folders are not
// part of the house.
func readTree(root fs.FS) (*tree, error) {
	t := &tree{designs: map[string][]byte{}}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if d.IsDir() {
			if name == "." {
				return nil
			}
			if strings.HasPrefix(base, ".") || base == "testdata" || name == "atoll-data" {
				return fs.SkipDir
			}
			if !strings.Contains(name, "/") {
				t.folders = append(t.folders, name)
			}
			return nil
		}
		if base != "DESIGN.md" && !strings.HasSuffix(base, ".go") {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		if base == "DESIGN.md" {
			t.designs[name] = text
			return nil
		}
		s, err := parseSource(name, text)
		if err != nil {
			return err
		}
		t.sources = append(t.sources, s)
		return nil
	})
	return t, err
}

func parseSource(name string, text []byte) (source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments)
	if err != nil {
		return source{}, err
	}
	return source{
		name:      name,
		folder:    path.Dir(name),
		test:      strings.HasSuffix(name, "_test.go"),
		generated: ast.IsGenerated(file),
		lines:     bytes.Count(text, []byte("\n")),
		file:      file,
		fset:      fset,
	}, nil
}

// matches reports whether folder is what pattern names: itself, or with "/..." anything below too.
func matches(pattern, folder string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return folder == base || strings.HasPrefix(folder, base+"/")
	}
	return folder == pattern
}

func layerOf(folder string) (layer, bool) {
	i := slices.IndexFunc(layers, func(l layer) bool { return matches(l.folder, folder) })
	if i < 0 {
		return layer{}, false
	}
	return layers[i], true
}

// imports yields the import paths of a file.
func (s source) imports() []string {
	var paths []string
	for _, spec := range s.file.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has accepted it, so it is a string
		}
		paths = append(paths, p)
	}
	return paths
}

// checkImports holds the directions of the design. A test may reach for a sibling, but the data
// plane's tests never see the control plane, nor the other way round.
func checkImports(t *tree) (bad []string) {
	for _, s := range t.sources {
		support := isSupport(s.folder)
		own, ok := layerOf(s.folder)
		if !ok && !support {
			bad = append(bad, fmt.Sprintf("%s: the house has no place for a package in %s", s.name, s.folder))
			continue
		}
		for _, p := range s.imports() {
			folder, ok := strings.CutPrefix(p, modulePath+"/")
			if !ok {
				continue
			}
			may := own.may
			if !s.test && !support && isSupport(folder) {
				bad = append(bad, fmt.Sprintf("%s: %s is for tests", s.name, folder))
				continue
			}
			if s.test || support {
				may = append(slices.Clone(may), testMay(s.folder)...)
			}
			if folder != s.folder && !slices.ContainsFunc(may, func(m string) bool { return matches(m, folder) }) {
				bad = append(bad, fmt.Sprintf("%s: %s may not import %s", s.name, s.folder, folder))
			}
		}
	}
	return bad
}

// testMay lists what tests of a folder may import beyond their package's own layer.
func testMay(folder string) []string {
	plane, _, _ := strings.Cut(folder, "/")
	switch plane {
	case "metadata":
		return []string{"metadata/...", "raftfsm", "rpc/..."}
	case "datanode":
		return []string{"datanode/...", "rpc/..."}
	}
	return nil
}

func checkBannedImports(t *tree) (bad []string) {
	for _, s := range t.sources {
		for _, b := range bannedImports {
			if b.folder != "." && !matches(b.folder+"/...", s.folder) || s.test && !b.tests {
				continue
			}
			for _, p := range s.imports() {
				// "log/slog" is below "log" but another job, so the standard library's log is meant alone.
				if p == b.path || b.path != "log" && strings.HasPrefix(p, b.path+"/") {
					bad = append(bad, fmt.Sprintf("%s: imports %s: %s", s.name, p, b.why))
				}
			}
		}
	}
	return bad
}

func checkFolders(t *tree) (bad []string) {
	for _, f := range t.folders {
		if !slices.Contains(topFolders, f) {
			bad = append(bad, fmt.Sprintf("%s/: not one of the house's top-level folders", f))
		}
	}
	return bad
}

func checkFileSizes(t *tree) (bad []string) {
	for _, s := range t.sources {
		limit := fileLinesMax
		if s.test {
			limit = testLinesMax
		}
		if !s.generated && s.lines > limit {
			bad = append(bad, fmt.Sprintf("%s: %d lines, above %d", s.name, s.lines, limit))
		}
	}
	return bad
}

// checkFuncSizes names every long function once they are too many; below that share it accepts them.
func checkFuncSizes(t *tree) (bad []string) {
	funcs := 0
	for _, s := range t.sources {
		if s.generated || s.test {
			continue
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			funcs++
			from, to := s.fset.Position(f.Pos()).Line, s.fset.Position(f.End()).Line
			if lines := to - from + 1; lines > funcLinesMax {
				bad = append(bad, fmt.Sprintf("%s:%d: %s has %d lines, above %d", s.name, from, f.Name.Name, lines, funcLinesMax))
			}
		}
	}
	if len(bad)*100 < funcs*longFuncsPercent {
		return nil
	}
	return bad
}

// checkNames refuses init functions and packages named for nothing.
func checkNames(t *tree) (bad []string) {
	for _, s := range t.sources {
		if name := s.file.Name.Name; slices.Contains(bannedNames, strings.TrimSuffix(name, "_test")) {
			bad = append(bad, fmt.Sprintf("%s: package %s doesn't name a job", s.name, name))
		}
		if s.generated {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				bad = append(bad, fmt.Sprintf("%s: has an init function", s.name))
			}
		}
	}
	return bad
}

// checkDeterminism looks for what would let two replicas of the state machine differ.
func checkDeterminism(t *tree) (bad []string) {
	clock := []string{"Now", "Since", "Until", "After", "Tick", "NewTimer", "NewTicker", "AfterFunc", "Sleep"}
	for _, s := range t.sources {
		if s.folder != "raftfsm" || s.test || s.generated {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				bad = append(bad, fmt.Sprintf("%s: the state machine starts a goroutine", s.fset.Position(n.Pos())))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
					bad = append(bad, fmt.Sprintf("%s: the state machine reads a clock", s.fset.Position(n.Pos())))
				}
			}
			return true
		})
	}
	return bad
}

// checkComments wants a package comment in every package and every DESIGN.md short.
func checkComments(t *tree) (bad []string) {
	has := map[string]bool{}
	for _, s := range t.sources {
		if s.test {
			continue
		}
		has[s.folder] = has[s.folder] || s.generated || s.file.Doc != nil
	}
	for folder, ok := range has {
		if !ok {
			bad = append(bad, folder+": no package comment")
		}
	}
	for name, text := range t.designs {
		if words := len(bytes.Fields(text)); words > designWordsMax {
			bad = append(bad, fmt.Sprintf("%s: %d words, above %d", name, words, designWordsMax))
		}
	}
	slices.Sort(bad)
	return bad
}
