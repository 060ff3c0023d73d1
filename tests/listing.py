"""The tutorial's two listings in one, with the changes that Python 3 and Keras 3 force.

    python tests/listing.py

Each changed line says in a comment what stood there. Left out are the tutorial's own
comments and what its second listing repeats of the first; imports are in order. Run in
the project's folder, it trains for 20 epochs, saves weights-improvement-*.keras there,
and writes 1,000 characters.
"""
# ruff: noqa: C402, C414, SIM115 - these lines are the tutorial's

import glob  # new, to find the file that has been saved
import os  # new, as well
import sys

import numpy
from keras.callbacks import ModelCheckpoint
from keras.layers import LSTM, Dense, Dropout  # was: a line for each
from keras.models import Sequential
from keras.utils import to_categorical  # was: from keras.utils import np_utils

filename = "data/wonderland.txt"  # was: "wonderland.txt"
raw_text = open(filename).read()
raw_text = raw_text.lower()
chars = sorted(list(set(raw_text)))
char_to_int = dict((c, i) for i, c in enumerate(chars))
int_to_char = dict((i, c) for i, c in enumerate(chars))
n_chars = len(raw_text)
n_vocab = len(chars)
print("Total Characters: ", n_chars)  # was: print "Total Characters: ", n_chars
print("Total Vocab: ", n_vocab)  # was: print "Total Vocab: ", n_vocab

seq_length = 100
dataX = []
dataY = []
for i in range(0, n_chars - seq_length, 1):
    seq_in = raw_text[i : i + seq_length]
    seq_out = raw_text[i + seq_length]
    dataX.append([char_to_int[char] for char in seq_in])
    dataY.append(char_to_int[seq_out])
n_patterns = len(dataX)
print("Total Patterns: ", n_patterns)  # was: print "Total Patterns: ", n_patterns
X = numpy.reshape(dataX, (n_patterns, seq_length, 1))
X = X / float(n_vocab)
y = to_categorical(dataY)  # was: np_utils.to_categorical(dataY)

model = Sequential()
model.add(LSTM(256, input_shape=(X.shape[1], X.shape[2])))
model.add(Dropout(0.2))
model.add(Dense(y.shape[1], activation="softmax"))
model.compile(loss="categorical_crossentropy", optimizer="adam")

# was: "weights-improvement-{epoch:02d}-{loss:.4f}.hdf5"
filepath = "weights-improvement-{epoch:02d}-{loss:.4f}.keras"
checkpoint = ModelCheckpoint(
    filepath, monitor="loss", verbose=1, save_best_only=True, mode="min"
)
callbacks_list = [checkpoint]
# was: nb_epoch=20
model.fit(X, y, epochs=20, batch_size=128, callbacks=callbacks_list)

# was: filename = "weights-improvement-19-1.9435.hdf5"; your best file is the last one
filename = max(glob.glob("weights-improvement-*.keras"), key=os.path.getmtime)
model.load_weights(filename)

start = numpy.random.randint(0, len(dataX) - 1)
pattern = dataX[start]
print("Seed:")  # was: print "Seed:"
# was: print "\"", "".join([int_to_char[value] for value in pattern]), "\""
print('"', "".join([int_to_char[value] for value in pattern]), '"')
for i in range(1000):
    x = numpy.reshape(pattern, (1, len(pattern), 1))
    x = x / float(n_vocab)
    prediction = model.predict(x, verbose=0)
    index = numpy.argmax(prediction)
    result = int_to_char[index]
    seq_in = [int_to_char[value] for value in pattern]
    sys.stdout.write(result)
    pattern.append(index)
    pattern = pattern[1 : len(pattern)]
print("\nDone.")  # was: print "\nDone."
