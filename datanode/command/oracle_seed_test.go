package command_test

import (
	"runtime"
	"slices"
	"testing"

	"github.com/atolldb/atoll/datanode/command"
	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/datanode/command/compare"
	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
	"pgregory.net/rapid"
)

// TestOracleNotices puts one bug after the other into Atoll; the oracle of its family must find each within
// four times as many commands as a plain test run spends on that.
func TestOracleNotices(t *testing.T) {
	dial := compare.Redis(t, oneNode...)
	setChecks(t, max(1, len(families)/4))
	bugs := []struct {
		name, family, command string
		run                   func(right func(*command.Ctx)) func(*command.Ctx)
	}{
		{"a key is not deleted", "key", "del", func(func(*command.Ctx)) func(*command.Ctx) {
			return func(c *command.Ctx) { c.Out.Int(0) }
		}},
		{"an expiry is lost", "string", "append", func(right func(*command.Ctx)) func(*command.Ctx) {
			return func(c *command.Ctx) {
				right(c)
				datatype.Space{Tx: c.Tx, DB: c.DB}.Persist(c.Args[1])
			}
		}},
		{"a spread hash forgets a count", "hash", "hset", func(right func(*command.Ctx)) func(*command.Ctx) {
			return func(c *command.Ctx) {
				right(c)
				if row, ok := c.Tx.Get(c.DB, c.Args[1]); ok && row.Spread {
					row.Bytes++
					c.Tx.Put(c.DB, c.Args[1], row)
				}
			}
		}},
		{"a spread list starts one element early", "list", "lrem", func(right func(*command.Ctx)) func(*command.Ctx) {
			return func(c *command.Ctx) {
				before, _ := c.Tx.Get(c.DB, c.Args[1])
				right(c)
				if row, ok := c.Tx.Get(c.DB, c.Args[1]); ok && row.Spread && row.Head > before.Head {
					row.Head--
					c.Tx.Put(c.DB, c.Args[1], row)
				}
			}
		}},
		{"a stream forgets that it was given an entry", "stream", "xtrim", func(right func(*command.Ctx)) func(*command.Ctx) {
			return func(c *command.Ctx) {
				right(c)
				s, err := datatype.Space{Tx: c.Tx, DB: c.DB, Buf: new(datatype.Buffers)}.Stream(c.Args[1])
				if err == nil && s.Added > uint64(s.Len()) {
					added := s.Added - 1
					s.SetID(s.Last, &added, datatype.StreamID{})
					s.Save()
				}
			}
		}},
		{"a count is not noted", "hll", "pfcount", func(right func(*command.Ctx)) func(*command.Ctx) {
			return func(c *command.Ctx) {
				before, ok := c.Tx.Get(c.DB, c.Args[1])
				right(c)
				if after, _ := c.Tx.Get(c.DB, c.Args[1]); ok && string(before.Data) != string(after.Data) {
					c.Tx.Put(c.DB, c.Args[1], before)
				}
			}
		}},
		{"the order of equal scores is lost", "zset", "zrank", func(right func(*command.Ctx)) func(*command.Ctx) {
			return func(c *command.Ctx) {
				row, _ := c.Tx.Get(c.DB, c.Args[1])
				if row.Type == store.TypeZSet && row.Spread {
					c.Out.Int(0)
					return
				}
				right(c)
			}
		}},
	}
	for _, bug := range bugs {
		t.Run(bug.name, func(t *testing.T) {
			specs := slices.Clone(command.All())
			i := slices.IndexFunc(specs, func(s command.Spec) bool { return s.Name == bug.command })
			specs[i].Run = bug.run(specs[i].Run)
			b := commandtest.NewWith(t, specs, command.Limits{})
			b.Env.Families.Limits = datatype.Limits{Members: 4, Bytes: 90}
			o := &oracle{redis: dial(), atoll: &memoryServer{tb: t, bench: b, session: b.Session(t, commandtest.AWriteSecret)}, proto: 2}
			if !notices(t, o, bug.family) {
				t.Errorf("%d commands show no difference", o.commands)
			}
		})
	}
}

// notices reports whether the oracle of a family fails.
func notices(t *testing.T, o *oracle, family string) bool {
	setFlag(t, "rapid.shrinktime", "0s")
	for _, f := range families {
		if f.name != family {
			continue
		}
		verdict := &verdictTB{TB: t}
		done := make(chan struct{})
		go func() { // which a failure ends
			defer close(done)
			rapid.Check(verdict, func(t *rapid.T) { o.check(t, f.gen) })
		}()
		<-done
		if verdict.failed {
			return true
		}
	}
	return false
}

// verdictTB takes note of a failure instead of failing.
type verdictTB struct {
	testing.TB
	failed bool
}

func (v *verdictTB) Fail()                 { v.failed = true }
func (v *verdictTB) Failed() bool          { return v.failed }
func (v *verdictTB) Error(...any)          { v.failed = true }
func (v *verdictTB) Errorf(string, ...any) { v.failed = true }
func (v *verdictTB) Log(...any)            {}
func (v *verdictTB) Logf(string, ...any)   {}
func (v *verdictTB) Fatal(...any)          { v.FailNow() }
func (v *verdictTB) Fatalf(string, ...any) { v.FailNow() }

func (v *verdictTB) FailNow() {
	v.failed = true
	runtime.Goexit()
}
