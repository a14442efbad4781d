package command

import (
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/atolldb/atoll/datanode/datatype"
)

// FamilyEnv is what the data families keep per executor. The zero value is ready.
type FamilyEnv struct {
	// Limits say how long a collection stays one packed row; zero is datatype.DefaultLimits.
	Limits datatype.Limits
	// Random returns a number below n, for the commands that pick; nil is math/rand/v2's.
	Random func(n int64) int64

	cursors cursorTables
	works   sync.Pool // of *work
}

// work is what one data command has to work with besides its Ctx: the types, on the session's database,
// and memory that was used before.
type work struct {
	datatype.Space
	buffers datatype.Buffers
	found   words
}

// words are strings that were collected before their number is known.
type words struct {
	bytes []byte
	ends  []int
}

func (w *words) add(b []byte) {
	w.bytes = append(w.bytes, b...)
	w.ends = append(w.ends, len(w.bytes))
}

func (w *words) len() int { return len(w.ends) }

func (w *words) at(i int) []byte {
	from := 0
	if i > 0 {
		from = w.ends[i-1]
	}
	return w.bytes[from:w.ends[i]]
}

// collect adds a string to what w has found, and reports whether a reply of it can still be sent. If not,
// the connection ends at its output limit, and nothing more need be looked for.
func (c *Ctx) collect(w *work, b []byte) bool {
	w.found.add(b)
	return c.Out.fits(len(w.found.bytes) + bulkFrame*w.found.len())
}

// keepWords bounds what a words keeps for the next command.
const keepWords = 64 << 10

func (w *words) reset() {
	if cap(w.bytes) > keepWords || cap(w.ends) > keepWords {
		*w = words{}
		return
	}
	w.bytes, w.ends = w.bytes[:0], w.ends[:0]
}

// onData makes a command function out of one that works on rows.
func onData(run func(*Ctx, *work)) func(*Ctx) {
	return func(c *Ctx) {
		env := &c.Env.Families
		w, _ := env.works.Get().(*work)
		if w == nil {
			w = new(work)
		}
		limits := env.Limits
		if limits == (datatype.Limits{}) {
			limits = datatype.DefaultLimits
		}
		w.Space = datatype.Space{Tx: c.Tx, DB: c.DB, Limits: limits, Buf: &w.buffers}
		if c.Spec.Flags&FlagReadOnly != 0 {
			w.Looks = &c.looks
		}
		run(c, w)
		w.Space = datatype.Space{}
		w.buffers.Trim()
		w.found.reset()
		env.works.Put(w)
	}
}

// reading is the space of a command that also writes, for a key that it looks up to answer with.
func (w *work) reading(c *Ctx) datatype.Space {
	s := w.Space
	s.Looks = &c.looks
	return s
}

// random returns a number below n, which is positive.
func (e *FamilyEnv) random(n int64) int64 {
	if e.Random != nil {
		return e.Random(n)
	}
	return rand.Int64N(n)
}

// familyFailure maps a sentinel of the data types to its RESP error.
type familyFailure struct {
	err  error
	text Error
}

const (
	errWrongType     = Error("WRONGTYPE Operation against a key holding the wrong kind of value")
	errNotFloat      = Error("ERR value is not a valid float")
	errOverflow      = Error("ERR increment or decrement would overflow")
	errNaN           = Error("ERR increment would produce NaN or Infinity")
	errScoreNaN      = Error("ERR resulting score is not a number (NaN)")
	errScoreRange    = Error("ERR min or max is not a float")
	errLexRange      = Error("ERR min or max not valid string range item")
	errTooLong       = Error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
	errCursor        = Error("ERR invalid cursor")
	errNoSuchKey     = Error("ERR no such key")
	errOutOfRange    = Error("ERR value is out of range")
	errNotPositive   = Error("ERR value is out of range, must be positive")
	errCountRange    = Error("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807")
	errOffset        = Error("ERR offset is out of range")
	errHashInteger   = Error("ERR hash value is not an integer")
	errHashFloat     = Error("ERR hash value is not a float")
	errNotFinite     = Error("ERR value is NaN or Infinity")
	errSameObject    = Error("ERR source and destination objects are the same")
	errIndexRange    = Error("ERR index out of range")
	errNumKeys       = Error("ERR numkeys should be greater than 0")
	errCountPositive = Error("ERR count should be greater than 0")
	errLimitNegative = Error("ERR LIMIT can't be negative")
	errDecrOverflow  = Error("ERR decrement would overflow")
	errNotHLL        = Error("WRONGTYPE Key is not a valid HyperLogLog string value.")
	errHLLCorrupt    = Error("INVALIDOBJ Corrupted HLL object detected")
	errDump          = Error("ERR Bad data format")
	errDumpFooter    = Error("ERR DUMP payload version or checksum are wrong")
	errNoDump        = Error("ERR values of this type can't be dumped")
	errBusyKey       = Error("BUSYKEY Target key name already exists.")
)

// familyFailures is the data types' part of the table of errors.
func familyFailures() []familyFailure {
	return []familyFailure{
		{datatype.ErrWrongType, errWrongType},
		{datatype.ErrNotInteger, errNotInteger},
		{datatype.ErrNotFloat, errNotFloat},
		{datatype.ErrOverflow, errOverflow},
		{datatype.ErrNaN, errNaN},
		{datatype.ErrScoreNaN, errScoreNaN},
		{datatype.ErrScoreRange, errScoreRange},
		{datatype.ErrLexRange, errLexRange},
		{datatype.ErrTooLong, errTooLong},
		{datatype.ErrNotHLL, errNotHLL},
		{datatype.ErrHLLCorrupt, errHLLCorrupt},
		{datatype.ErrDump, errDump},
		{datatype.ErrDumpFooter, errDumpFooter},
		{datatype.ErrNoDump, errNoDump},
	}
}

// familySpecs returns the specs of every data family.
func familySpecs() []Spec {
	return slices.Concat(
		family("string", stringSpecs()),
		family("bitmap", bitmapSpecs()),
		family("hyperloglog", hllSpecs()),
		family("generic", keySpecs()),
		family("generic", scanSpecs()),
		family("generic", sortSpecs()),
		family("generic", dumpSpecs()),
		family("server", databaseSpecs()),
		family("hash", hashSpecs()),
		family("set", setSpecs()),
		family("set", setOperationSpecs()),
		family("list", listSpecs()),
		family("list", listBlockSpecs()),
		family("sorted-set", zsetSpecs()),
		family("sorted-set", zrangeSpecs()),
		family("sorted-set", zsetOperationSpecs()),
		family("sorted-set", zsetPopSpecs()),
		family("stream", streamSpecs()),
		family("stream", streamGroupSpecs()),
		family("geo", geoSpecs()),
	)
}

// family gives the specs of one family what they have in common.
func family(group string, specs []Spec) []Spec {
	for i := range specs {
		specs[i].Group, specs[i].Scope = group, ScopeTenant
		for j := range specs[i].Subs {
			specs[i].Subs[j].Group, specs[i].Subs[j].Scope = group, ScopeTenant
		}
	}
	return specs
}

// The usual flags of data commands.
const (
	flagsRead      = FlagReadOnly
	flagsReadFast  = FlagReadOnly | FlagFast | FlagShort
	flagsReadWalk  = FlagReadOnly | FlagFast // in Redis, where it doesn't walk
	flagsWrite     = FlagWrite
	flagsWriteFast = FlagWrite | FlagFast | FlagShort
	flagsWriteMany = FlagWrite | FlagFast // in Redis; a count says how many rows it takes
	flagsGrow      = FlagWrite | FlagDenyOOM
	flagsGrowFast  = FlagWrite | FlagDenyOOM | FlagFast | FlagShort
	flagsGrowShort = FlagWrite | FlagDenyOOM | FlagShort
)

// integer reads an argument that must be a 64-bit integer, or answers with the error.
func (c *Ctx) integer(i int) (int64, bool) {
	n, ok := datatype.ParseInt(c.Args[i])
	if !ok {
		c.Out.Error(string(errNotInteger))
	}
	return n, ok
}

// fail answers with a fixed error.
func (c *Ctx) fail(e Error) { c.Out.Error(string(e)) }

// failArity answers that the number of arguments is wrong, where the spec's arity can't tell.
func (c *Ctx) failArity() {
	c.Out.Error("ERR wrong number of arguments for '" + c.Spec.Name + "' command")
}

// bit is 1 for true, as commands answer.
func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
