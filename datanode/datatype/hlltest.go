package datatype

import (
	"encoding/binary"
	"fmt"
	"math"
)

// TestHLL is what PFSELFTEST does: it sets registers at random and compares them with bytes, and counts up to 100,000
// different elements, in both forms as long as there are two, and in what they merge to.
func TestHLL(random func() uint64) error {
	dense := HLL{appendEmptyHLL(nil)}
	if _, err := dense.ToDense(); err != nil {
		return err
	}
	var want, got HLLRegisters
	for range 10 * hllRegisters {
		n := random()
		i, v := int(n%hllRegisters), byte(n>>32%hllValueMax+1)
		dense.setDense(i, v)
		want[i] = max(want[i], v)
	}
	if err := dense.Merge(&got); err != nil {
		return err
	}
	for i := range want {
		if want[i] != got[i] {
			return fmt.Errorf("register %d should be %d but is %d", i, want[i], got[i])
		}
	}
	return testHLLCount(random())
}

func testHLLCount(seed uint64) error {
	const tolerance = 6 * 1.04 / 128 // six standard errors of 16,384 registers
	grown, dense := HLL{appendEmptyHLL(nil)}, HLL{appendEmptyHLL(nil)}
	if _, err := dense.ToDense(); err != nil {
		return err
	}
	var element [8]byte
	for i, checkpoint := 1, 1; i <= 100_000; i++ {
		binary.LittleEndian.PutUint64(element[:], uint64(i)^seed)
		a, err := grown.Add(element[:])
		if b, _ := dense.Add(element[:]); a != b || err != nil {
			return fmt.Errorf("element %d changes one form, and not the other: %w", i, err)
		}
		if i != checkpoint {
			continue
		}
		checkpoint *= 10
		n, err := grown.Count()
		if m, _ := dense.Count(); n != m || err != nil {
			return fmt.Errorf("the forms' counts differ: %d and %d: %w", n, m, err)
		}
		if math.Abs(float64(n)-float64(i)) > math.Ceil(tolerance*float64(i)) {
			return fmt.Errorf("too big an error: %d elements were counted as %d", i, n)
		}
	}
	return nil
}
