package command_test

import (
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atolldb/atoll/datanode/command/commandtest"
)

const wrongPass = "-WRONGPASS invalid username-password pair or user is disabled.\r\n"

// Whether the name, the token or the pair is wrong makes no difference to what is answered.
func TestRefusalsOfAuthLookAlike(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, "")
	for _, words := range [][]string{
		{"AUTH", "guess"}, {"AUTH", "a", "guess"}, {"AUTH", "nobody", "guess"}, {"AUTH", "b", commandtest.AWriteSecret},
		{"AUTH", "nobody", commandtest.AWriteSecret}, {"AUTH", ""}, {"HELLO", "3", "AUTH", "a", "guess"},
		{"HELLO", "3", "AUTH", "nobody", "guess"}, {"HELLO", "3", "AUTH", "b", commandtest.AWriteSecret},
	} {
		if got := b.Do(t, s, words...); got != wrongPass {
			t.Errorf("%q: %q", words, got)
		}
	}
}

func TestFailedAuthIsSlowedAndARightOneIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := commandtest.New(t)
		guesser, began := b.Session(t, ""), time.Now()
		guess := func(words ...string) time.Duration {
			t.Helper()
			start := time.Now()
			if got := b.Do(t, guesser, words...); got != wrongPass {
				t.Fatalf("got %q", got)
			}
			return time.Since(start)
		}
		for range 20 {
			if took := guess("AUTH", "guess"); took != 0 {
				t.Fatalf("a free failure waited %v", took)
			}
		}
		for range 10 {
			if took := guess("HELLO", "2", "AUTH", "default", "guess"); took != 500*time.Millisecond {
				t.Fatalf("a failure waited %v", took)
			}
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("30 guesses took %v", took)
		}
		start := time.Now()
		b.Session(t, commandtest.AWriteSecret) // of the same source
		if got := b.Do(t, guesser, "AUTH", commandtest.BWriteSecret); got != "+OK\r\n" {
			t.Errorf("got %q", got)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("right tokens waited %v", took)
		}
	})
}

// Guesses of one pipeline wait one after the other; of those in parallel that would wait too long a few wait
// and end, the others end at once and aren't answered.
func TestGuessesInPipelinesAndInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := commandtest.New(t)
		s := b.Session(t, commandtest.AWriteSecret) // authenticated: its pipelines are executed as one batch
		var lines [][]string
		for range 26 {
			lines = append(lines, []string{"AUTH", "b", "guess"})
		}
		start := time.Now()
		b.Pipeline(t, s, lines...)
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("26 guesses in one pipeline took %v", took)
		}
		start = time.Now()
		var answered, ended atomic.Int32
		for range 50 {
			one := b.Session(t, "")
			go func() {
				got := b.Do(t, one, "AUTH", "guess")
				closing, drop := one.Closing()
				switch took := time.Since(start); {
				case got == wrongPass && took <= 5*time.Second && took > 0 && !drop:
					answered.Add(1)
				case got != "" || took != 0 || !closing || drop: // earlier replies of a pipeline are sent
					t.Errorf("got %q after %v, closing %v, drop %v", got, took, closing, drop)
				}
				if closing {
					ended.Add(1)
				}
			}()
		}
		synctest.Wait()
		last := b.Session(t, "")
		if got := b.Pipeline(t, last, []string{"AUTH", commandtest.AWriteSecret}, []string{"PING"}, []string{"AUTH", "guess"}, []string{"PING"}); got != "+OK\r\n+PONG\r\n" {
			t.Errorf("got %q", got)
		}
		time.Sleep(time.Minute) // the waiting end
		if answered.Load() != 16 || ended.Load() != 40 {
			t.Errorf("%d were answered and %d ended", answered.Load(), ended.Load())
		}
	})
}

func TestAPauseEndsWithTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := commandtest.New(t)
		for what, end := range map[string]func(int64){
			"closed": func(id int64) {
				b.Do(t, b.Session(t, commandtest.AdminSecret), "CLIENT", "KILL", "ID", strconv.FormatInt(id, 10))
			},
			"hurried": func(id int64) {
				for _, s := range b.Registry.All() {
					if s.ID == id {
						s.Hurry()
					}
				}
			},
		} {
			s := b.Session(t, "")
			for range 20 {
				b.Do(t, s, "AUTH", "guess")
			}
			start, done := time.Now(), make(chan struct{})
			go func() {
				defer close(done)
				b.Do(t, s, "AUTH", "guess")
			}()
			synctest.Wait()
			end(s.ID)
			<-done
			if took := time.Since(start); took != 0 {
				t.Errorf("%s: it went on for %v", what, took)
			}
			time.Sleep(time.Hour)
		}
	})
}
