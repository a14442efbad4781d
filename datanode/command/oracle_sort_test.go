package command_test

import (
	"fmt"

	"pgregory.net/rapid"
)

// sortStep sorts keys of one type each. Redis' order of elements that are the same to it depends on how a set lies in memory and,
// with LIMIT, on its partial quicksort: weights that are words differ, or nothing is cut off. No number is too large, since what Redis
// sorts after one is refused too.
func sortStep(t *rapid.T) []step {
	lists, sets, zsets := []string{"a", "b"}, "c", "d"
	switch one(t, "command", "SORT", "SORT", "SORT", "SORT", "SORT", "SORT", "RPUSH", "RPUSH", "SADD", "ZADD", "weight", "weight", "weight", "hash", "other", "DEL") {
	case "RPUSH":
		return []step{exact("RPUSH", one(t, "list", lists...), sortable(t), sortable(t), sortable(t))}
	case "SADD":
		return []step{exact("SADD", sets, sortable(t), sortable(t), sortable(t))}
	case "ZADD":
		return []step{exact("ZADD", zsets, fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "score")), sortable(t), "3", sortable(t))}
	case "weight":
		element := sortable(t)
		return []step{exact("SET", "w_"+element+one(t, "behind", "", "_x"), one(t, "weight", "1", "2", "3", "-1.5", "1000", " 7", "inf", "x", "", "0x10")+one(t, "more", "", "", "", element))}
	case "hash":
		return []step{exact("HSET", "h_"+sortable(t), "f", one(t, "weight", "1", "2", "3", "x"), "g->*", value(t))}
	case "other":
		return []step{exact("SET", "", "12"), exact("HSET", "w_7", "f", "1"), exact("RPUSH", "h_7", "1")}
	case "DEL":
		return []step{exact("DEL", one(t, "gone", "a", "b", "c", "d", "w_1", "w_a", "h_1", "dest"))}
	}
	k := one(t, "key", "a", "a", "b", "c", "c", "d", "d", "", "nokey")
	args, same := []string{one(t, "name", "SORT", "SORT", "SORT_RO"), k}, equalValues
	words, lies := false, false // by words, or as the set lies
	switch one(t, "by", "none", "none", "none", "weight", "weight", "hash", "nosort", "nosort") {
	case "weight":
		args, words = append(args, "BY", one(t, "pattern", "w_*", "w_*", "w_*_x", "h_*->f", "w_*->", "*", "w_*->f*")), true
	case "hash":
		args, words = append(args, "by", "h_*->f"), true
	case "nosort":
		args = append(args, "BY", one(t, "pattern", "nosort", "#", "x->y", "w_\x00*"))
		lies = k == sets
	}
	if rapid.IntRange(0, 2).Draw(t, "alpha") > 0 {
		args = append(args, "ALPHA")
	} else {
		words = false
	}
	args = maybe(t, 3, args, "DESC")
	args = maybe(t, 6, args, "ASC")
	if rapid.IntRange(0, 2).Draw(t, "limited") == 0 && !words && !lies {
		args = append(args, "LIMIT", one(t, "offset", "0", "1", "2", "-1", "100", "9223372036854775807"), one(t, "limit", "0", "1", "2", "5", "-1", "100", "x"))
	}
	before := len(args)
	for range rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "gets") {
		args = append(args, "GET", one(t, "get", "#", "#", "w_*", "h_*->f", "h_*->g->*", "nothing", "w_*_x", "*"))
	}
	if lies || words && k != "a" && k != "b" {
		same = unordered(max(1, (len(args)-before)/2))
	}
	if rapid.IntRange(0, 3).Draw(t, "stored") == 0 && (!words || k == "a" || k == "b") {
		args = append(args, "STORE", one(t, "target", "a", "b", "dest", "dest"))
	}
	args = maybe(t, 25, args, one(t, "word", "LIMIT", "BY", "x", "GET"))
	return []step{{args, same}}
}

// sortable is an element of numbers for the most part.
func sortable(t *rapid.T) string {
	return one(t, "element", "1", "2", "3", "7", "10", "-5", "2.5", "1e2", "02", "1", "2", "3", "4", "5", "6", "8", "9", "a", "b", "B", "")
}
