// Command interop checks a Meshtrail log and record proofs with golang.org/x/mod/sumdb only:
// another language, another implementation of notes, tiles and proofs.
//
//	interop -vkey VKEY [-old NOTE]... [-proof FILE]... URL
//
// Exit 0: everything verified. 1: something did not. 2: usage. 3: could not check.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// sizeMax bounds a tree before any arithmetic: x/mod loops for ever on sizes over 2^62.
const sizeMax = 1 << 53

const tileHeight = 8

// notVerified marks a finding, as opposed to a check that could not be made.
type notVerified struct{ error }

func failf(format string, args ...any) error { return notVerified{fmt.Errorf(format, args...)} }

// finding says where an error came up. One of the network stays what it is: no verdict about the log.
func finding(err error, format string, args ...any) error {
	var network *url.Error
	if errors.As(err, &network) {
		return err
	}
	return failf(format+": %w", append(args, err)...)
}

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

type checkpoint struct {
	origin string
	tree   tlog.Tree
}

// openCheckpoint verifies a signed note and reads the tree head from its text.
func openCheckpoint(text []byte, verifier note.Verifier) (checkpoint, error) {
	signed, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return checkpoint{}, failf("checkpoint: %v", err)
	}
	lines := strings.Split(signed.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != verifier.Name() {
		return checkpoint{}, failf("checkpoint text is not origin, size, root of %s: %q", verifier.Name(), signed.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || size > sizeMax || strconv.FormatInt(size, 10) != lines[1] {
		return checkpoint{}, failf("checkpoint size %q", lines[1])
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return checkpoint{}, failf("checkpoint root %q", lines[2])
	}
	return checkpoint{lines[0], tlog.Tree{N: size, Hash: root}}, nil
}

// site fetches resources of the log; it is also a tlog.TileReader.
type site struct {
	base   string
	client *http.Client
}

func (s *site) get(path string) ([]byte, error) {
	response, err := s.client.Get(s.base + path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotFound && path != "/checkpoint" {
		return nil, failf("%s: the tree needs it, and it is missing", path)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %s", path, response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, 64<<20))
}

func (s *site) Height() int { return tileHeight }

func (s *site) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		// x/mod writes tile/8/L/N; tlog-tiles has no height in its paths.
		path := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		bytes, err := s.get("/" + path)
		if err != nil {
			return nil, err
		}
		data[i] = bytes
	}
	return data, nil
}

func (s *site) SaveTiles([]tlog.Tile, [][]byte) {}

// entries reads entry tile n of a tree of the given size.
func (s *site) entries(n, size int64) ([][]byte, error) {
	width := min(size-n*256, 256)
	tile := tlog.Tile{H: tileHeight, L: -1, N: n, W: int(width)}
	path := strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1)
	data, err := s.get("/" + path)
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			return nil, failf("%s: an entry is cut short", path)
		}
		end := 2 + int(binary.BigEndian.Uint16(data))
		entries, data = append(entries, data[2:end]), data[end:]
	}
	if int64(len(entries)) != width {
		return nil, failf("%s: %d entries, not %d", path, len(entries), width)
	}
	return entries, nil
}

// checkLog hashes every entry, compares it with the tree, and proves one entry of each tile.
func checkLog(s *site, head checkpoint) error {
	if head.tree.N == 0 {
		return nil
	}
	reader := tlog.TileHashReader(head.tree, s)
	for n := int64(0); n*256 < head.tree.N; n++ {
		entries, err := s.entries(n, head.tree.N)
		if err != nil {
			return err
		}
		indexes := make([]int64, len(entries))
		for i := range entries {
			indexes[i] = tlog.StoredHashIndex(0, n*256+int64(i))
		}
		hashes, err := reader.ReadHashes(indexes)
		if err != nil {
			return finding(err, "hashes of entry tile %d", n)
		}
		for i, entry := range entries {
			if tlog.RecordHash(entry) != hashes[i] {
				return failf("entry %d does not hash to its leaf", n*256+int64(i))
			}
		}
		last := n*256 + int64(len(entries)) - 1
		proof, err := tlog.ProveRecord(head.tree.N, last, reader)
		if err == nil {
			err = tlog.CheckRecord(proof, head.tree.N, head.tree.Hash, last, hashes[len(hashes)-1])
		}
		if err != nil {
			return finding(err, "entry %d", last)
		}
	}
	return nil
}

// checkOld proves that an older checkpoint is a prefix of the newer one.
func checkOld(s *site, head, old checkpoint) error {
	if old.tree.N > head.tree.N {
		return failf("rollback: an older checkpoint has size %d, the log now %d", old.tree.N, head.tree.N)
	}
	if old.tree.N == 0 {
		return nil
	}
	proof, err := tlog.ProveTree(head.tree.N, old.tree.N, tlog.TileHashReader(head.tree, s))
	if err == nil {
		err = tlog.CheckTree(proof, head.tree.N, head.tree.Hash, old.tree.N, old.tree.Hash)
	}
	if err != nil {
		return finding(err, "fork: size %d is no prefix of size %d", old.tree.N, head.tree.N)
	}
	return nil
}

func decode(text string) ([]byte, error) { return base64.StdEncoding.Strict().DecodeString(text) }

// parseHash reads a hash in its one spelling; tlog.ParseHash lets spare bits pass.
func parseHash(text string) (hash tlog.Hash, err error) {
	bytes, err := decode(text)
	if err != nil || len(bytes) != tlog.HashSize {
		return hash, failf("%q is no hash", text)
	}
	copy(hash[:], bytes)
	return hash, nil
}

func run() error {
	var olds, proofs list
	vkey := flag.String("vkey", "", "verifier key of the log")
	flag.Var(&olds, "old", "file with an older checkpoint (repeatable)")
	flag.Var(&proofs, "proof", "file with a record proof (repeatable)")
	flag.Parse()
	verifier, err := note.NewVerifier(strings.TrimSpace(*vkey))
	if err != nil || flag.NArg() > 1 || (flag.NArg() == 0 && len(proofs) == 0) {
		flag.Usage()
		os.Exit(2)
	}
	for _, file := range proofs {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := checkProof(bytes.TrimSpace(text), verifier); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		fmt.Println("verified", file)
	}
	if flag.NArg() == 0 {
		return nil
	}
	s := &site{strings.TrimSuffix(flag.Arg(0), "/"), &http.Client{Timeout: 30 * time.Second}}
	text, err := s.get("/checkpoint")
	if err != nil {
		return err
	}
	head, err := openCheckpoint(text, verifier)
	if err != nil {
		return err
	}
	if err := checkLog(s, head); err != nil {
		return err
	}
	for _, file := range olds {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		old, err := openCheckpoint(text, verifier)
		if err == nil {
			err = checkOld(s, head, old)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	fmt.Printf("verified %s size %d\n", head.origin, head.tree.N)
	return nil
}

func main() {
	err := run()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "interop:", err)
	var finding notVerified
	if errors.As(err, &finding) {
		os.Exit(1)
	}
	os.Exit(3)
}
