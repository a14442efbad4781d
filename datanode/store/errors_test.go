package store_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
)

// An error at every operation, not at every ninth:
//
//	go test ./datanode/store -run TestErrors -errors.step 1 -v
var (
	errorStep = flag.Int("errors.step", 9, "TestErrors: fail one file operation in so many, each in a life of its own")
	errorSeed = flag.Uint64("errors.seed", 0, "TestErrors: of the workload; 0: at random")
	errorLife = flag.String("errors.life", "", "TestLives: what TestErrors starts it with")
)

// TestErrors fails one file operation of a store's life, with writes, purges, sweeps, flushes, compactions, log
// rotation, checkpoints and restarts. The error is reported, and then nothing has happened; or the process
// ends, as it must after an fsync. Either way nothing is lost and nothing invented.
func TestErrors(t *testing.T) { everyFault(t, "whole") }

// TestErrorsAtOpen is the same for the opening of a store that has a log to replay, and of a checkpoint that
// was staged. Opened once more, without a fault, it holds what it held.
func TestErrorsAtOpen(t *testing.T) {
	t.Run("store", func(t *testing.T) { everyFault(t, "opened") })
	t.Run("snapshot", func(t *testing.T) { everyFault(t, "staged") })
}

// everyFault runs lives with each fault at one operation after the other, until one comes to no operation.
// They run in processes of their own, since the end of some is that of the process.
func everyFault(t *testing.T, kind string) {
	seed := *errorSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-errors.seed %d", seed)
	for _, how := range []fault{broken, full, short} {
		t.Run(how.String(), func(t *testing.T) {
			ends, at := 0, 0
			for ; ; at += *errorStep {
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run", "^TestLives$", "-errors.life",
					fmt.Sprintln(kind, seed, int(how), at, *errorStep))
				cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // else a second for each
				out, err := cmd.CombinedOutput()
				said := lifeSaid.FindSubmatch(out)
				if err != nil || said == nil {
					t.Fatalf("%v\n%s", err, out)
				}
				if at, err = strconv.Atoi(string(said[2])); err != nil {
					t.Fatal(err)
				}
				if string(said[1]) == allDone {
					break
				}
				ends++
			}
			t.Logf("of about %d operations one in %d has failed; %d times the process ended", at, *errorStep, ends)
		})
	}
}

// A process says with its last words how far it has come.
const (
	allDone     = "all done"
	processEnds = "the process ends"
)

var lifeSaid = regexp.MustCompile(`(?m)^(` + allDone + `|` + processEnds + `) at operation (\d+)$`)

// TestLives is a process of TestErrors: life after life, until one of them ends the process.
func TestLives(t *testing.T) {
	if *errorLife == "" {
		t.Skip("a part of TestErrors")
	}
	var kind string
	var seed uint64
	var how, at, step int
	if _, err := fmt.Sscan(*errorLife, &kind, &seed, &how, &at, &step); err != nil {
		t.Fatal(err)
	}
	var b *base
	if kind != "whole" {
		b = newBase(t, seed, kind == "staged")
	}
	for ; !t.Failed(); at += step {
		l := newLife(t, seed, fault(how), at)
		if b == nil {
			l.run()
		} else {
			l.runAgain(b)
		}
		l.finish()
		if l.gone && !t.Failed() {
			fmt.Printf("\n%s at operation %d\n", processEnds, at)
			os.Exit(0) // a process doesn't go on without its store, and Pebble leaves goroutines behind
		}
		if happened, _ := l.fault.failed(); !happened {
			fmt.Printf("\n%s at operation %d\n", allDone, at)
			return
		}
	}
}
