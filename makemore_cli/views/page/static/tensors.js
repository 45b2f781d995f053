"use strict";
// Arrays of numbers as they are embedded in the page.

/** The data of the page. */
const data = JSON.parse(document.getElementById("data").textContent);

const ARRAYS = { f32: Float32Array, f64: Float64Array, i32: Int32Array };

/** An embedded array as {shape, data}. Its numbers are float64 here, whatever they were. */
function decoded(array) {
  const kind = Object.keys(ARRAYS).find((name) => name in array);
  const bytes = Uint8Array.from(atob(array[kind]), (letter) => letter.charCodeAt(0));
  return { shape: array.shape, data: Float64Array.from(new ARRAYS[kind](bytes.buffer)) };
}
