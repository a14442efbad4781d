package datatype

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// hllSeed is the seed with which Redis hashes elements.
const hllSeed = 0xadc83b19

// hllPlace returns an element's register and the value that it asks for: one more than the zeros of its hash behind the
// register's bits.
func hllPlace(element []byte) (register int, value byte) {
	h := murmur64A(element, hllSeed)
	register = int(h & (hllRegisters - 1))
	return register, byte(bits.TrailingZeros64(h>>hllIndexBits|1<<hllHashBits)) + 1
}

// murmur64A is MurmurHash64A by Austin Appleby, on little-endian words.
func murmur64A(b []byte, seed uint64) uint64 {
	const m, r = 0xc6a4a7935bd1e995, 47
	h := seed ^ uint64(len(b))*m
	for ; len(b) >= 8; b = b[8:] {
		k := binary.LittleEndian.Uint64(b) * m
		h = (h ^ (k^k>>r)*m) * m
	}
	if len(b) > 0 {
		for i, c := range b {
			h ^= uint64(c) << (8 * i)
		}
		h *= m
	}
	h = (h ^ h>>r) * m
	return h ^ h>>r
}

// hllEstimate is the estimator of Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (arXiv:1702.01284),
// algorithm 6, in the order of operations of Redis: the numbers are the same. The conversions keep a compiler from fusing them.
func hllEstimate(histogram *[hllValueMax + 1]int) uint64 {
	const alpha, m = 0.721347520444481703680, float64(hllRegisters)
	z := m * hllTau((m-float64(histogram[hllHashBits+1]))/m)
	for j := hllHashBits; j >= 1; j-- {
		z += float64(histogram[j])
		z *= 0.5
	}
	z += float64(m * hllSigma(float64(histogram[0])/m))
	n := math.Round(float64(alpha*m*m) / z)
	if !(n < 1<<63) { // registers as no elements make them: C's conversion on the machines that Redis runs on
		return 1 << 63
	}
	return uint64(n)
}

func hllTau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		before := z
		y *= 0.5
		z -= float64((1 - x) * (1 - x) * y)
		if before == z {
			return z / 3
		}
	}
}

func hllSigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		before := z
		z += float64(x * y)
		y += y
		if before == z {
			return z
		}
	}
}
