"""What the test line says, as pocketsphinx hears it: the arguments are a recording and the folder of the prompts.

Prints the number as it was said, twice, a line each; `?` is a word that was not understood. The lengths of the prompts tell where
the number is: what is neither number nor silence is known, and the rest is the number twice. Each word is recognised alone:
in a row the recogniser takes pauses for more digits.
"""

import array
import os
import subprocess
import sys
import tempfile

from pocketsphinx import Decoder

RATE = 16000
# Seconds of quiet between parts, as the daemon makes it.
PAUSE = 0.5
# Quiet before the first prompt and behind the last one, that is part of them (prompts/make).
LEAD = 0.03
TAIL = 0.3
# A sample over this is speech; G.711 has silence below.
LOUD = 500
# Seconds of quiet that part two words, and what of it is kept around each.
GAP = 0.2
MARGIN = 0.12
WORDS = "zero one two three four five six seven eight nine".split()


def samples_of(recording):
    sox = ["sox", recording, "-t", "raw", "-r", str(RATE), "-b", "16", "-c", "1", "-e", "signed-integer", "-L", "-"]
    return array.array("h", subprocess.run(sox, check=True, stdout=subprocess.PIPE).stdout)


def length_of(prompts, name):
    return int(os.path.getsize(os.path.join(prompts, name + ".ul")) / 8000 * RATE)


def recogniser():
    with tempfile.NamedTemporaryFile("w", suffix=".gram") as grammar:
        grammar.write(f"#JSGF V1.0; grammar word; public <word> = plus | {' | '.join(WORDS)};")
        grammar.flush()
        return Decoder(samprate=RATE, jsgf=grammar.name, loglevel="FATAL")


def words_of(samples):
    loud = [at for at, sample in enumerate(samples) if abs(sample) > LOUD]
    starts = loud[:1] + [at for before, at in zip(loud, loud[1:]) if at - before > GAP * RATE]
    ends = [before for before, at in zip(loud, loud[1:]) if at - before > GAP * RATE] + loud[-1:]
    margin = int(MARGIN * RATE)
    return [samples[max(start - margin, 0) : end + margin] for start, end in zip(starts, ends)]


def recognised(decoder, word):
    decoder.start_utt()
    decoder.process_raw(word.tobytes(), full_utt=True)
    decoder.end_utt()
    heard = decoder.hyp().hypstr if decoder.hyp() else "?"
    return {"plus": "+", "?": "?"}.get(heard) or str(WORDS.index(heard))


def main(recording, prompts):
    samples = samples_of(recording)
    loud = [at for at, sample in enumerate(samples) if abs(sample) > LOUD]
    if not loud:
        sys.exit("the recording is silent")
    test, again, goodbye = (length_of(prompts, name) for name in ("test", "again", "goodbye"))
    pause = int(PAUSE * RATE)
    start, end = loud[0] - int(LEAD * RATE), loud[-1] + int(TAIL * RATE)
    number = (end - start - test - again - goodbye - 2 * pause) // 2
    if number <= 0:
        sys.exit(f"the recording has {(end - start) / RATE:.1f} s of sound, less than a message without a number")
    first = start + test
    second = first + number + pause + again
    decoder = recogniser()
    for at in (first, second):
        print(''.join(recognised(decoder, word) for word in words_of(samples[at : at + number])))


main(*sys.argv[1:])
