package integration

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// Each bug on purpose with the test that catches it, in some minutes:
//
//	go test ./integration -run TestSeededBugs -seeds -v
var seeds = flag.Bool("seeds", false, "plant the seeded bugs, one after the other")

// seededBugs names tests that must fail with a bug: one of them is enough.
var seededBugs = []struct {
	seed  string // in seed.go of the package
	tests string
	args  []string
}{
	{"replog/nosync", "TestModel", nil},
	{"replog/nodirsync", "TestModel", nil},
	{"replog/secondsync", "TestFailedSyncIsFinal|TestFailedRetireIsFinal", nil},
	{"replog/nounwrite", "TestModel", nil},
	{"replog/anychecksum", "TestFlippedBits", nil},
	{"replog/cutshort", "TestTornTail", nil},
	{"replog/readtorn", "TestErrorAtEveryOperation", nil},
	{"store/localnosync", "TestPowerCuts", nil},
	{"store/applyfirst", "TestShortageOfSpace", nil},
	{"store/appendignored", "TestFullDisk", nil},
	{"store/nologfirst", "TestPowerCuts", nil},
	{"store/markerorder", "TestPowerCutsAtOpen", []string{"-test.count", "20"}},
	{"store/forgetexpires", "TestPowerCuts", nil},
	{"store/positionalone", "TestPowerCuts", nil},
	{"store/positionearly", "TestPowerCuts", []string{"-cuts", "3000"}},
	{"store/versions", "TestPowerCuts", nil},
	{"store/stalefill", "TestFillAfterWrite", nil},
	{"store/purgerows", "TestPromiseP7PurgeByEntryOnly", nil},
	{"store/excise", "TestPurgeSparesItsNeighbours", []string{"-test.count", "5"}},
	{"store/noteearly", "TestPowerCuts", nil},
	{"store/dirsync", "TestErrors", []string{"-errors.step", "1"}},
	{"tenant/viewnosync", "TestViewSurvivesACrash", nil},
	{"tenant/viewearly", "TestFailedOperations", nil},
	{"tenant/keeprevoked", "TestRevokedGrantIsNotRenewed", nil},
	{"command/noreserve", "TestLimitsOvershootNothing", nil},
	{"command/stalegrant", "TestJointAsksForTheNewestView", nil},
	{"command/nobodytold", "TestWaitersOfAFailedRun", nil},
	{"command/nocover", "TestWaitersLoseNothing", nil},
	{"command/execlocks", "TestWatchedButNotWritten", nil},
	{"store/watchblind", "TestWatched", nil},
	{"command/keepidle", "TestFallenSessionsEnd", nil},
	{"raftfsm/anyrevision", "TestP2HTTPHistories", nil},
	{"raftfsm/forgetrequests", "TestP2HTTPHistories", []string{"-histories.rounds", "20"}},
}

// testsOf returns the folder whose tests are to catch a package's bugs.
func testsOf(pkg string) string {
	if pkg == "raftfsm" {
		return "../metadata"
	}
	return "../datanode/" + pkg
}

// TestSeededBugs runs the tests of a package with one bug of it after the other, and requires that one fails each
// time: a test that has never failed has shown nothing. The bugs of replication are in TestFullSyncCatchesSeededBugs.
func TestSeededBugs(t *testing.T) {
	checkSeedList(t)
	if !*seeds {
		t.Skip("needs -seeds: it runs tests of other packages many times")
	}
	bins, dir := make(map[string]string), t.TempDir()
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	for _, b := range seededBugs {
		pkg, _, _ := strings.Cut(b.seed, "/")
		if bins[pkg] == "" || pkg == "raftfsm" {
			bins[pkg] = buildSeeded(t, dir, pkg, b.seed)
		}
		began := time.Now()
		cmd := exec.CommandContext(t.Context(), bins[pkg], append([]string{"-test.v", "-test.timeout=3m", "-test.run", "^(" + b.tests + ")$"}, b.args...)...)
		cmd.Env, cmd.Dir = append(os.Environ(), "ATOLL_SEED="+b.seed), testsOf(pkg)
		out, err := cmd.CombinedOutput()
		test := caughtBy(out)
		if err == nil || test == "" {
			t.Errorf("%s: not caught: %v\n%s", b.seed, err, out[max(0, len(out)-4000):])
			test = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", b.seed, test, time.Since(began).Round(100*time.Millisecond))
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Logf("seeded bugs, by which test each was caught, and how long that took:\n%s", table.String())
}

// buildSeeded builds the tests of a package with the bugs in them; the state machine, which reads no environment,
// is linked with one of them.
func buildSeeded(t *testing.T, dir, pkg, seed string) string {
	t.Helper()
	bin := filepath.Join(dir, pkg+".test")
	flags := []string{"test", "-c", "-tags", "seed", "-ldflags", "-X " + modulePath + "/raftfsm.linked=" + seed, "-o", bin, testsOf(pkg)}
	out, err := exec.CommandContext(t.Context(), "go", flags...).CombinedOutput()
	if err != nil {
		t.Fatalf("build the tests of %s: %v\n%s", pkg, err, out)
	}
	return bin
}

var (
	testFailed = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)
	testBegan  = regexp.MustCompile(`(?m)^=== RUN\s+(\w+)`)
)

// caughtBy finds the test that failed, or that a panic has ended.
func caughtBy(out []byte) string {
	if m := testFailed.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	if all := testBegan.FindAllSubmatch(out, -1); all != nil && bytes.Contains(out, []byte("panic: ")) {
		return string(all[len(all)-1][1])
	}
	return ""
}

var seedConst = regexp.MustCompile(`(?m)^\tseed\w+\s+seed = "(.+?)"`)

// checkSeedList requires that every bug of a seed.go is in the list, and that the list has no other.
func checkSeedList(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("../datanode/*/seed.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no seeds: %v", err)
	}
	files = append(files, "../raftfsm/seed.go")
	var planted, listed []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range seedConst.FindAllSubmatch(text, -1) {
			planted = append(planted, string(m[1]))
		}
	}
	for _, b := range seededBugs {
		listed = append(listed, b.seed)
	}
	slices.Sort(planted)
	slices.Sort(listed)
	if !slices.Equal(planted, listed) {
		t.Errorf("the list of seeded bugs has\n%q, the code has\n%q", listed, planted)
	}
}
