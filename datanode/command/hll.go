package command

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/atolldb/atoll/datanode/datatype"
	"github.com/atolldb/atoll/datanode/store"
)

func hllSpecs() []Spec {
	many := KeySpec{First: 1, Last: -1, Step: 1}
	return []Spec{
		{Name: "pfadd", Arity: -2, Flags: flagsGrowFast, Keys: oneKey, Since: "2.8.9", Summary: "Adds elements to a HyperLogLog key. Creates the key if it doesn't exist.", Run: onData(pfaddCommand), Unsent: pfaddUnsent},
		{Name: "pfcount", Arity: -2, Flags: flagsRead | FlagNotes, Keys: many, Since: "2.8.9", Summary: "Returns the approximated cardinality of the set(s) observed by the HyperLogLog key(s).", Run: onData(pfcountCommand)},
		{Name: "pfdebug", Arity: 3, Flags: flagsGrow | FlagAdmin, Keys: KeySpec{First: 2, Last: 2, Step: 1}, Since: "2.8.9", Summary: "Internal commands for debugging HyperLogLog values.", Run: onData(pfdebugCommand), Unsent: pfdebugUnsent},
		{Name: "pfmerge", Arity: -2, Flags: flagsGrow, Keys: counted(many), Since: "2.8.9", Summary: "Merges one or more HyperLogLog values into a single key.", Run: onData(pfmergeCommand), Unsent: pfmergeUnsent},
		{Name: "pfselftest", Arity: 1, Flags: FlagAdmin, Since: "2.8.9", Summary: "An internal command for testing HyperLogLog values.", Run: pfselftestCommand},
	}
}

// A HyperLogLog takes no more than its dense form, whatever is put into it.

func pfaddUnsent(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	row, _ := tx.Get(tx.DB(db), args[1])
	return 0, datatype.HLLGrowth(row)
}

func pfdebugUnsent(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	row, ok := tx.Get(tx.DB(db), args[2])
	if !ok {
		return 0, 0
	}
	return 0, datatype.HLLGrowth(row)
}

func pfmergeUnsent(tx *store.Tx, db int, args [][]byte) (keys, bytes int64) {
	row, there := tx.Get(tx.DB(db), args[1])
	return bit(!there), datatype.HLLGrowth(row)
}

func pfaddCommand(c *Ctx, w *work) {
	h, err := w.EditHLL(c.Args[1])
	if err != nil {
		c.Fail(err)
		return
	}
	changed := h.Made
	for _, element := range c.Args[2:] {
		higher, err := h.Add(element)
		if err != nil {
			c.Fail(err)
			return
		}
		changed = changed || higher
	}
	if changed {
		h.Invalidate()
		h.Save()
	}
	c.Out.Int(bit(changed))
}

// pfcountCommand notes the count of one key in it, as Redis does, where the call may write.
func pfcountCommand(c *Ctx, w *work) {
	if len(c.Args) > 2 {
		var merged datatype.HLLRegisters
		if mergeHLLs(c, w.Space, &merged) {
			c.Out.Int(int64(merged.Count()))
		}
		return
	}
	h, ok, err := w.HLL(c.Args[1])
	if err != nil || !ok {
		c.replyInt(0, err)
		return
	}
	n, ok := h.Cached()
	if !ok {
		if n, err = h.Count(); err == nil && c.flags&FlagWrite != 0 {
			noteCount(w, c.Args[1], n)
		}
	}
	c.replyInt(int64(n), err)
}

func noteCount(w *work, key []byte, n uint64) {
	space := w.Space
	space.Looks = nil // it has been looked up
	if h, err := space.EditHLL(key); err == nil {
		h.SetCached(n)
		h.Save()
	}
}

// mergeHLLs merges the command's keys, or answers with the error.
func mergeHLLs(c *Ctx, space datatype.Space, into *datatype.HLLRegisters) bool {
	for _, key := range c.Args[1:] {
		h, ok, err := space.HLL(key)
		if ok {
			err = h.Merge(into)
		}
		if err != nil {
			c.Fail(err)
			return false
		}
	}
	return true
}

func pfmergeCommand(c *Ctx, w *work) {
	var merged datatype.HLLRegisters
	if !mergeHLLs(c, w.reading(c), &merged) {
		return
	}
	dense := false
	for _, key := range c.Args[1:] {
		h, ok, _ := w.HLL(key)
		dense = dense || ok && h.Dense()
	}
	h, err := w.EditHLL(c.Args[1])
	if err == nil && dense {
		_, err = h.ToDense()
	}
	if err != nil {
		c.Fail(err)
		return
	}
	h.Raise(&merged)
	h.Invalidate()
	h.Save()
	c.Out.OK()
}

func pfdebugCommand(c *Ctx, w *work) {
	h, err := w.EditHLL(c.Args[2])
	switch {
	case err == nil && h.Made:
		c.fail("ERR The specified key does not exist")
	case err != nil:
		c.Fail(err)
	case is(c.Args[1], "GETREG"):
		replyRegisters(c, &h)
	case is(c.Args[1], "DECODE"):
		decodeHLL(c, &h)
	case is(c.Args[1], "ENCODING"):
		c.Out.Simple(map[bool]string{true: "dense", false: "sparse"}[h.Dense()])
	case is(c.Args[1], "TODENSE"):
		changed, err := h.ToDense()
		if changed {
			h.Save()
		}
		c.replyInt(bit(changed), err)
	default:
		c.Out.Error("ERR Unknown PFDEBUG subcommand '" + c.Arg(1) + "'")
	}
}

// replyRegisters answers with all registers, and makes the HyperLogLog dense, as Redis does.
func replyRegisters(c *Ctx, h *datatype.HLLEdit) {
	var registers datatype.HLLRegisters
	if err := h.Merge(&registers); err != nil {
		c.Fail(err)
		return
	}
	if changed, _ := h.ToDense(); changed {
		h.Save()
	}
	c.Out.Array(len(registers))
	for _, v := range registers {
		c.Out.Int(int64(v))
	}
}

func decodeHLL(c *Ctx, h *datatype.HLLEdit) {
	if h.Dense() {
		c.fail("ERR HLL encoding is not sparse")
		return
	}
	var text []byte
	h.EachRun(func(run string) bool {
		text = append(append(text, run...), ' ')
		return c.Out.fits(len(text))
	})
	c.Out.BulkString(strings.TrimSuffix(string(text), " "))
}

// pfselftestCommand checks registers against plain bytes, and estimates against what was put in. It takes some ten
// milliseconds, and always does the same.
func pfselftestCommand(c *Ctx) {
	random := rand.New(rand.NewPCG(1, 2))
	if err := datatype.TestHLL(random.Uint64); err != nil {
		c.Out.Error(fmt.Sprintf("TESTFAILED %v", err))
		return
	}
	c.Out.OK()
}
