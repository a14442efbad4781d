package datatype

import "errors"

// What a command can find wrong with a value or an argument. The command package maps each to one RESP text.
var (
	// ErrWrongType: the key holds a value of another type.
	ErrWrongType = errors.New("key holds another type")
	// ErrNotInteger: not a decimal integer of 64 bits.
	ErrNotInteger = errors.New("not an integer")
	// ErrNotFloat: not a number, or not a finite one where that is asked for.
	ErrNotFloat = errors.New("not a float")
	// ErrOverflow: the sum leaves the range of 64 bits.
	ErrOverflow = errors.New("integer overflow")
	// ErrNaN: the sum is not a finite number.
	ErrNaN = errors.New("sum is not a finite number")
	// ErrScoreNaN: the new score is not a number (inf plus -inf).
	ErrScoreNaN = errors.New("score is not a number")
	// ErrScoreRange: a bound of a score range is not a number.
	ErrScoreRange = errors.New("score bound is not a float")
	// ErrLexRange: a bound of a lexical range starts with none of ( [ - +.
	ErrLexRange = errors.New("invalid lexical bound")
	// ErrTooLong: the string would be longer than MaxStringBytes.
	ErrTooLong = errors.New("string exceeds maximum length")
	// ErrNotHLL: the string is no HyperLogLog.
	ErrNotHLL = errors.New("not a HyperLogLog")
	// ErrHLLCorrupt: the registers of a HyperLogLog are not as many as there must be.
	ErrHLLCorrupt = errors.New("corrupted HyperLogLog")
	// ErrDump: a dump is damaged, or of a form that isn't read.
	ErrDump = errors.New("bad dump")
	// ErrDumpFooter: a dump's version is unknown, or its checksum wrong.
	ErrDumpFooter = errors.New("bad footer of a dump")
	// ErrNoDump: a value of that type can't be dumped.
	ErrNoDump = errors.New("type without a dump")

	// errCorrupt: a packed value does not parse. It never leaves the package: damage panics with store.Damage.
	errCorrupt = errors.New("packed value is damaged")
)
