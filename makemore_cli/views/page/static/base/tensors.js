"use strict";
// Arrays of numbers as they are embedded in the page.

/** The data of the page. */
const data = JSON.parse(document.getElementById("data").textContent);

const ARRAYS = { f32: Float32Array, f64: Float64Array, i32: Int32Array };

/** An embedded array as {shape, data}. Its numbers are float64 here, whatever they were. */
function decoded(array) {
  const kind = Object.keys(ARRAYS).find((name) => name in array);
  const text = atob(array[kind]);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i); // ten times as fast as Uint8Array.from
  return { shape: array.shape, data: new Float64Array(new ARRAYS[kind](bytes.buffer)) };
}
