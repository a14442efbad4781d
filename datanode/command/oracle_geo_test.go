package command_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/atolldb/atoll/datanode/command/compare"
	"pgregory.net/rapid"
)

// distancesKey is the target of STOREDIST: scores there may differ in their last bit.
const distancesKey = "distances"

// nearScores compares members exactly, and their scores nearly.
func nearScores(a, b compare.Value) bool {
	if len(a.List) != len(b.List) || a.Kind != b.Kind {
		return false
	}
	for i := range a.List {
		x, errX := strconv.ParseFloat(a.List[i].Text, 64)
		y, errY := strconv.ParseFloat(b.List[i].Text, 64)
		switch {
		case len(a.List[i].List) > 0:
			if !nearScores(a.List[i], b.List[i]) {
				return false
			}
		case errX == nil && errY == nil && math.Abs(x-y) <= 1e-14*math.Abs(x):
		case !equalValues(a.List[i], b.List[i]):
			return false
		}
	}
	return true
}

// geoStep puts each member at places of its own: which of those that lie equally far comes first isn't defined, and with
// COUNT Redis' order is its partial quicksort's.
func geoStep(t *rapid.T) []step {
	k := key(t)
	name := one(t, "command", "GEOADD", "GEOADD", "GEOADD", "GEOADD", "many", "GEODIST", "GEOHASH", "GEOPOS", "GEOSEARCH", "GEOSEARCH", "GEOSEARCH", "GEOSEARCHSTORE", "GEORADIUS", "GEORADIUS", "GEORADIUSBYMEMBER",
		"GEORADIUSBYMEMBER", "ZADD", "ZREM", "big", "DEL")
	switch name {
	case "GEOADD":
		args := maybe(t, 4, []string{name, k}, one(t, "condition", "NX", "XX", "nx"))
		args = maybe(t, 4, args, one(t, "option", "CH", "ch", "NX", "XX"))
		for range rapid.SampledFrom([]int{1, 1, 2, 3}).Draw(t, "members") {
			f := field(t)
			args = append(append(args, place(t, f)...), f)
		}
		return []step{exact(maybe(t, 20, args, "1")...)}
	case "many":
		random := rand.New(rand.NewPCG(rapid.Uint64Range(0, 3).Draw(t, "seed"), 1))
		args := []string{"GEOADD", k}
		for i := range 40 {
			args = append(args, fmt.Sprint(random.Float64()*360-180), fmt.Sprint(random.Float64()*170-85), fmt.Sprintf("m%d", i))
		}
		return []step{exact(args...)}
	case "GEODIST":
		args := maybe(t, 2, []string{name, k, geoMember(t), geoMember(t)}, unit(t))
		return []step{exact(maybe(t, 20, args, "more")...)}
	case "GEOHASH", "GEOPOS":
		args := []string{name, k, geoMember(t)}
		return []step{exact(maybe(t, 2, args, geoMember(t), geoMember(t))...)}
	case "GEOSEARCH", "GEOSEARCHSTORE":
		args := []string{name, k}
		if name == "GEOSEARCHSTORE" {
			args = append(args, key(t))
		}
		args = append(args, rapid.Permutation([]string{"from", "by", "options"}).Draw(t, "order")...)
		if args = searchArgs(t, args, name); slices.Contains(args, "STOREDIST") {
			args[1] = distancesKey
		}
		return []step{exact(args...)}
	case "GEORADIUS":
		args := append([]string{one(t, "name", name, name, "GEORADIUS_RO"), k}, place(t, geoMember(t))...)
		return []step{exact(geoOptions(t, append(args, radius(t), unit(t)), name)...)}
	case "GEORADIUSBYMEMBER":
		args := []string{one(t, "name", name, name, "GEORADIUSBYMEMBER_RO"), k, geoMember(t), radius(t), unit(t)}
		return []step{exact(geoOptions(t, args, name)...)}
	case "ZADD": // what was never a position
		return []step{exact(name, k, one(t, "score", "0", "1", "-1", "3479447370796909", "4503599627370496", "9007199254740992", "1e18", "1e19", "1.5e19", "1e20", "-1e20", "inf", "-inf", "1234567.875"), "odd")}
	case "ZREM":
		return []step{exact(name, k, geoMember(t))}
	case "big":
		if rapid.IntRange(0, 3).Draw(t, "seldom") == 0 {
			return newKey(t, k)
		}
	}
	return []step{exact("DEL", k)}
}

// searchArgs puts words in the place of the parts of a search.
func searchArgs(t *rapid.T, parts []string, name string) (args []string) {
	for i, part := range parts {
		switch {
		case i < len(parts)-3:
			args = append(args, part)
		case part == "from":
			if rapid.IntRange(0, 2).Draw(t, "from") > 0 {
				args = append(args, one(t, "word", "FROMMEMBER", "frommember"), geoMember(t))
			} else {
				args = append(append(args, "FROMLONLAT"), place(t, geoMember(t))...)
			}
			args = maybe(t, 25, args, "FROMMEMBER", "f1")
		case part == "by":
			if rapid.Bool().Draw(t, "box") {
				args = append(args, "BYBOX", radius(t), radius(t), unit(t))
			} else {
				args = append(args, "BYRADIUS", radius(t), unit(t))
			}
			args = maybe(t, 25, args, "BYRADIUS", "1000", "km")
		default:
			args = geoOptions(t, args, name)
		}
	}
	return args
}

func geoOptions(t *rapid.T, args []string, name string) []string {
	args = maybe(t, 2, args, one(t, "order", "ASC", "DESC", "asc"))
	if rapid.IntRange(0, 2).Draw(t, "counted") == 0 {
		args = append(args, "COUNT", one(t, "count", "1", "2", "3", "5", "10", "100", "0", "-1", "x"))
		args = maybe(t, 2, args, "ANY")
	}
	args = maybe(t, 20, args, one(t, "word", "ANY", "COUNT", "x", "FROMLONLAT"))
	switch name {
	case "GEOSEARCHSTORE":
		args = maybe(t, 2, args, "STOREDIST")
		return maybe(t, 20, args, "WITHDIST")
	case "GEORADIUS", "GEORADIUSBYMEMBER":
		if rapid.IntRange(0, 2).Draw(t, "stored") == 0 {
			args = append(args, "STOREDIST", distancesKey)
			if rapid.Bool().Draw(t, "scores") {
				args = append(args, one(t, "word", "STORE", "store"), key(t))
			}
			return maybe(t, 10, args, one(t, "more", "STORE", "WITHHASH"), key(t))
		}
	}
	args = maybe(t, 2, args, "WITHDIST")
	args = maybe(t, 2, args, "WITHHASH")
	return maybe(t, 2, args, "WITHCOORD")
}

func geoMember(t *rapid.T) string {
	if rapid.IntRange(0, 2).Draw(t, "of many") == 0 {
		return one(t, "member", "m0", "m5", "m17", "m39", "odd")
	}
	return field(t)
}

func radius(t *rapid.T) string {
	return one(t, "radius", "0", "1", "10", "100", "500", "1000", "2500", "5000", "7000", "12000", "20000", "30000", "1e9", "0.5", "123.456", "-1", "x", "inf", "1e-300")
}

func unit(t *rapid.T) string {
	return one(t, "unit", "km", "km", "m", "mi", "ft", "KM", "km", "km", "x")
}

// place is one of a member's own places, or of those on the edges of the world, or none.
func place(t *rapid.T, member string) []string {
	hash := uint64(rapid.IntRange(0, 2).Draw(t, "place"))
	for _, c := range []byte(member) {
		hash = hash*31 + uint64(c)
	}
	random := rand.New(rand.NewPCG(hash, 2))
	near := []float64{360, 10, 0.1}[rapid.IntRange(0, 2).Draw(t, "spread")]
	lon, lat := (random.Float64()-0.5)*near, (random.Float64()-0.5)*min(near, 170)
	if near < 360 {
		lon, lat = lon+rapid.SampledFrom([]float64{13, 179.9, -120}).Draw(t, "west"), lat+rapid.SampledFrom([]float64{38, 84, -70}).Draw(t, "south")
	}
	at := []string{strconv.FormatFloat(min(max(lon, -180), 180), 'f', -1, 64), strconv.FormatFloat(min(max(lat, -85), 85), 'f', -1, 64)}
	switch rapid.IntRange(0, 30).Draw(t, "odd place") {
	case 0:
		at[0] = one(t, "longitude", "180", "-180", "180.1", "x", "inf", "-200")
	case 1:
		at[1] = one(t, "latitude", "85.05112878", "-85.05112878", "85.0512", "y", "1e300", "-inf")
	}
	return at
}
