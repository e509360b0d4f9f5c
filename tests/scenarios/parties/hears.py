"""What the test line says, as pocketsphinx hears it: the arguments are a recording, the folder of the prompts, a count of digits.

Prints the number as it was said, twice, a line each; a line is empty where nothing was understood. The recogniser is told how
many digits there are, since it takes pauses for more of them, and nothing else. The lengths of the prompts tell where the number is:
what is neither number nor silence is known, and the rest is the number twice.
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
WORDS = "zero one two three four five six seven eight nine".split()


def samples_of(recording):
    sox = ["sox", recording, "-t", "raw", "-r", str(RATE), "-b", "16", "-c", "1", "-e", "signed-integer", "-L", "-"]
    return array.array("h", subprocess.run(sox, check=True, stdout=subprocess.PIPE).stdout)


def length_of(prompts, name):
    return int(os.path.getsize(os.path.join(prompts, name + ".ul")) / 8000 * RATE)


def recogniser(digits):
    with tempfile.NamedTemporaryFile("w", suffix=".gram") as grammar:
        said = "plus" + " <digit>" * digits
        grammar.write(f"#JSGF V1.0; grammar number; public <number> = {said}; <digit> = {' | '.join(WORDS)};")
        grammar.flush()
        return Decoder(samprate=RATE, jsgf=grammar.name, loglevel="FATAL")


def recognised(decoder, samples):
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), full_utt=True)
    decoder.end_utt()
    heard = decoder.hyp().hypstr.split() if decoder.hyp() else []
    return "".join("+" if word == "plus" else str(WORDS.index(word)) for word in heard)


def main(recording, prompts, digits):
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
    decoder = recogniser(int(digits))
    for at in (first, second):
        print(recognised(decoder, samples[at : at + number]))


main(*sys.argv[1:])
